// steadygan::product(a, b): the product of float32 matrices [.., m, k] and [.., k, n], of one matrix or a batch of them,
// through torch's door to oneDNN's kernel for small ones, without the microseconds that every call of mm and bmm takes.
#include <ATen/Parallel.h>
#include <ATen/native/CPUBlas.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>

namespace {

constexpr int64_t kRows = 64;       // of the left matrix, in one call of the kernel
constexpr int64_t kGrain = 1 << 20; // multiplications that are worth a thread's while

at::Tensor by_rows(const at::Tensor& x) {
  const bool fit = x.stride(-1) == 1 && x.stride(-2) >= x.size(-1);
  return fit ? x : x.clone(at::MemoryFormat::Contiguous);
}

at::Tensor product(const at::Tensor& left, const at::Tensor& right) {
  TORCH_CHECK(left.scalar_type() == at::kFloat && right.scalar_type() == at::kFloat, "product is of float32 matrices");
  TORCH_CHECK(
      left.dim() == right.dim() && (left.dim() == 2 || left.dim() == 3) && left.size(-1) == right.size(-2) &&
          left.size(0) * left.size(-2) * left.size(-1) * right.size(-1) > 0 &&
          (left.dim() == 2 || left.size(0) == right.size(0)),
      "product is of [.., m, k] and [.., k, n], none empty, not of ", left.sizes(), " and ", right.sizes());
  const at::Tensor a = by_rows(left), b = by_rows(right);
  const int64_t count = a.dim() == 3 ? a.size(0) : 1;
  const int64_t m = a.size(-2), k = a.size(-1), n = b.size(-1);
  const int64_t next_a = a.dim() == 3 ? a.stride(0) : 0, next_b = b.dim() == 3 ? b.stride(0) : 0;
  const int64_t parts = (m + kRows - 1) / kRows;
  auto shape = a.sizes().vec();
  shape.back() = n;
  at::Tensor c = at::empty(shape, a.options());
  const float *from_a = a.const_data_ptr<float>(), *from_b = b.const_data_ptr<float>();
  float* to = c.mutable_data_ptr<float>();
  const int64_t grain = std::max<int64_t>(1, kGrain / (kRows * k * n));
  at::parallel_for(0, count * parts, grain, [&](int64_t first, int64_t last) {
    for (int64_t task = first; task < last; task++) {
      const int64_t matrix = task / parts, row = task % parts * kRows;
      at::native::cpublas::brgemm(
          std::min(kRows, m - row), n, k, a.stride(-2), b.stride(-2), n, /*add_C=*/false,
          from_a + matrix * next_a + row * a.stride(-2), from_b + matrix * next_b,
          to + (matrix * m + row) * n, /*is_vnni=*/false);
    }
  });
  return c;
}

} // namespace

TORCH_LIBRARY_FRAGMENT(steadygan, library) {
  library.def("product(Tensor left, Tensor right) -> Tensor", {at::Tag::needs_exact_strides});
}

TORCH_LIBRARY_IMPL(steadygan, CPU, library) {
  library.impl("product", &product);
}
