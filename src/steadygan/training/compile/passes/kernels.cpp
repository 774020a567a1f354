// steadygan::product(a, b): the product of float32 matrices [.., m, k] and [.., k, n], single or batched.
// It has no call overhead of mm and bmm, and does not transpose a first. A tile of the result stays in registers during
// the sum over k; numbers of a are read with their own strides.
#include <ATen/Parallel.h>
#include <ATen/ops/col2im.h>
#include <ATen/ops/empty.h>
#include <torch/csrc/inductor/aoti_torch/utils.h>
#include <torch/library.h>

#include <algorithm>
#include <vector>

namespace {

#if defined(__AVX512F__)
constexpr int64_t kBytes = 64, kTall = 8; // bytes of a vector; rows of a tile, two vectors wide: 19 of 32 registers
#else
constexpr int64_t kBytes = 32, kTall = 4; // 11 of 16
#endif
typedef float Vector __attribute__((vector_size(kBytes), aligned(4)));
typedef float Quarter __attribute__((vector_size(16), aligned(4)));
constexpr int64_t kLane = kBytes / 4; // numbers of a vector
constexpr int64_t kFew = 4;         // at most so many columns are computed one number at a time
constexpr int64_t kRows = 64;       // rows of the left matrix in one task
constexpr int64_t kGrain = 1 << 20; // least multiplications for one thread

struct Left {
  const float* at;
  int64_t down, along; // strides of rows and of columns
  Left row(int64_t i) const { return {at + i * down, down, along}; }
};

// A tile of R rows and W vectors of columns: each number of a is multiplied with W vectors of b.
template <int64_t R, int64_t W>
[[gnu::always_inline]] inline void tile(int64_t k, Left a, const float* b, int64_t next_b, float* c, int64_t next_c) {
  Vector sum[R][W] = {};
  for (int64_t i = 0; i < k; i++, a.at += a.along, b += next_b) {
    Vector x[W];
    for (int64_t w = 0; w < W; w++)
      x[w] = *reinterpret_cast<const Vector*>(b + w * kLane);
    for (int64_t r = 0; r < R; r++)
      for (int64_t w = 0; w < W; w++)
        sum[r][w] += a.at[r * a.down] * x[w];
  }
  for (int64_t r = 0; r < R; r++)
    for (int64_t w = 0; w < W; w++)
      *reinterpret_cast<Vector*>(c + r * next_c + w * kLane) = sum[r][w];
}

// m rows and W vectors of columns.
template <int64_t W>
void column(int64_t m, int64_t k, Left a, const float* b, int64_t next_b, float* c, int64_t next_c) {
  int64_t row = 0;
  for (; row + kTall <= m; row += kTall)
    tile<kTall, W>(k, a.row(row), b, next_b, c + row * next_c, next_c);
  for (; row < m; row++)
    tile<1, W>(k, a.row(row), b, next_b, c + row * next_c, next_c);
}

// Fewer columns than a vector has: on copies that are padded to a whole vector.
void narrow(int64_t m, int64_t n, int64_t k, Left a, const float* b, int64_t next_b, float* c, int64_t next_c) {
  thread_local std::vector<float> room;
  room.resize((k + m) * kLane);
  float *wide = room.data(), *found = wide + k * kLane;
  for (int64_t i = 0; i < k; i++) {
    Vector row = {};
    for (int64_t j = 0; j < n; j++)
      row[j] = b[i * next_b + j];
    *reinterpret_cast<Vector*>(wide + i * kLane) = row;
  }
  column<1>(m, k, a, wide, kLane, found, kLane);
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++)
      c[i * next_c + j] = found[i * kLane + j];
}

inline float total(Vector x) {
  float parts[kLane];
  *reinterpret_cast<Vector*>(parts) = x;
  Quarter sum = *reinterpret_cast<Quarter*>(parts);
  for (int64_t i = 4; i < kLane; i += 4)
    sum += *reinterpret_cast<Quarter*>(parts + i);
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

// Few columns, and contiguous rows of a: one dot product per number of the result, with b's columns copied contiguous.
void dots(int64_t m, int64_t n, int64_t k, Left a, const float* b, int64_t next_b, float* c, int64_t next_c) {
  thread_local std::vector<float> room;
  room.resize(n * k);
  for (int64_t i = 0; i < k; i++)
    for (int64_t j = 0; j < n; j++)
      room[j * k + i] = b[i * next_b + j];
  for (int64_t i = 0; i < m; i++)
    for (int64_t j = 0; j < n; j++) {
      const float *x = a.at + i * a.down, *y = room.data() + j * k;
      Vector sum = {};
      int64_t at = 0;
      for (; at + kLane <= k; at += kLane)
        sum += *reinterpret_cast<const Vector*>(x + at) * *reinterpret_cast<const Vector*>(y + at);
      float rest = 0;
      for (; at < k; at++)
        rest += x[at] * y[at];
      c[i * next_c + j] = total(sum) + rest;
    }
}

void multiply(int64_t m, int64_t n, int64_t k, Left a, const float* b, int64_t next_b, float* c, int64_t next_c) {
  if (n < kLane && a.down == 1 && m > n) { // columns of a are contiguous: compute the transposed product
    thread_local std::vector<float> room;
    room.resize(n * m);
    multiply(n, m, k, {b, 1, next_b}, a.at, a.along, room.data(), m);
    for (int64_t i = 0; i < m; i++)
      for (int64_t j = 0; j < n; j++)
        c[i * next_c + j] = room[j * m + i];
    return;
  }
  if (n <= kFew && a.along == 1)
    return dots(m, n, k, a, b, next_b, c, next_c);
  int64_t to = 0;
  for (; to + 2 * kLane <= n; to += 2 * kLane)
    column<2>(m, k, a, b + to, next_b, c + to, next_c);
  if (to + kLane <= n) {
    column<1>(m, k, a, b + to, next_b, c + to, next_c);
    to += kLane;
  }
  if (to < n)
    narrow(m, n - to, k, a, b + to, next_b, c + to, next_c);
}

at::Tensor by_rows(const at::Tensor& x) {
  return x.stride(-1) == 1 ? x : x.clone(at::MemoryFormat::Contiguous);
}

at::Tensor product(const at::Tensor& a, const at::Tensor& right) {
  TORCH_CHECK(a.scalar_type() == at::kFloat && right.scalar_type() == at::kFloat, "product is of float32 matrices");
  TORCH_CHECK(
      a.dim() == right.dim() && (a.dim() == 2 || a.dim() == 3) && a.size(-1) == right.size(-2) &&
          (a.dim() == 2 || a.size(0) == right.size(0)),
      "product is of [.., m, k] and [.., k, n], not of ", a.sizes(), " and ", right.sizes());
  const at::Tensor b = by_rows(right);
  const int64_t count = a.dim() == 3 ? a.size(0) : 1;
  const int64_t m = a.size(-2), k = a.size(-1), n = b.size(-1);
  const int64_t next_a = a.dim() == 3 ? a.stride(0) : 0, next_b = b.dim() == 3 ? b.stride(0) : 0;
  const int64_t parts = (m + kRows - 1) / kRows;
  auto shape = a.sizes().vec();
  shape.back() = n;
  at::Tensor c = at::empty(shape, a.options());
  const float *from_a = a.const_data_ptr<float>(), *from_b = b.const_data_ptr<float>();
  float* to = c.mutable_data_ptr<float>();
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, kRows * k * n));
  at::parallel_for(0, count * parts, grain, [&](int64_t first, int64_t last) {
    for (int64_t task = first; task < last; task++) {
      const int64_t matrix = task / parts, row = task % parts * kRows;
      const Left left{from_a + matrix * next_a + row * a.stride(-2), a.stride(-2), a.stride(-1)};
      multiply(std::min(kRows, m - row), n, k, left, from_b + matrix * next_b, b.stride(-2), to + (matrix * m + row) * n, n);
    }
  });
  return c;
}

// torch.compile's own col2im writes number by number.
at::Tensor fold(
    const at::Tensor& columns, at::IntArrayRef size, at::IntArrayRef kernel, at::IntArrayRef padding, at::IntArrayRef stride) {
  return at::col2im(columns, size, kernel, {1, 1}, padding, stride);
}

} // namespace

// What a compiled program calls: the dispatcher takes as long as a small product.
extern "C" AOTITorchError aoti_torch_cpu_product(AtenTensorHandle a, AtenTensorHandle b, AtenTensorHandle* c) {
  using namespace torch::aot_inductor;
  AOTI_TORCH_CONVERT_EXCEPTION_TO_ERROR_CODE(
      { *c = new_tensor_handle(product(*tensor_handle_to_tensor_pointer(a), *tensor_handle_to_tensor_pointer(b))); });
}

// kernels.py defines the operators.
TORCH_LIBRARY_IMPL(steadygan, CPU, library) {
  library.impl("product", &product);
  library.impl("fold", &fold);
}
