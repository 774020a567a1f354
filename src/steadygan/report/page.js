"use strict";
(() => {
  const frames = (slider) => [...slider.closest("[data-reel]").querySelectorAll("[data-frame]")];
  const show = (slider) => {
    const all = frames(slider);
    all.forEach((frame, i) => { frame.hidden = i !== Number(slider.value); });
    const words = all[slider.value].dataset.frame;
    slider.closest("[data-reel]").querySelector("output").textContent = words;
    slider.setAttribute("aria-valuetext", words);
  };
  const sliders = () => [...document.querySelectorAll("[data-reel] input")];
  // The others go to the frame whose step is nearest.
  const follow = (slider) => {
    const step = frames(slider)[slider.value].dataset.step;
    sliders().filter((other) => other !== slider).forEach((other) => {
      const far = frames(other).map((frame) => Math.abs(frame.dataset.step - step));
      other.value = far.indexOf(Math.min(...far));
      show(other);
    });
  };
  const begin = () => {
    sliders().forEach((slider) => {
      slider.closest(".controls").hidden = frames(slider).length < 2;
      show(slider);
    });
    document.querySelectorAll(".linking").forEach((each) => { each.hidden = sliders().filter((slider) => slider.max > 0).length < 2; });
    document.querySelectorAll(".saving").forEach((each) => { each.hidden = false; });
  };
  document.addEventListener("input", (event) => {
    if (!event.target.matches("[data-reel] input")) return;
    show(event.target);
    if (document.getElementById("linked").checked) follow(event.target);
  });
  begin();

  // Downloads. An SVG has the colours that the page shows now, in attributes that every drawing program reads.
  const LOOKS = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "stroke-linecap", "stroke-linejoin", "opacity", "font-size", "font-family", "paint-order"];
  const node = (name, attributes, text = "") => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
    made.textContent = text;
    return made;
  };
  const copied = (svg) => {
    const copy = svg.cloneNode(true);
    const [from, to] = [svg, copy].map((each) => [...each.querySelectorAll("path, text, rect")]);
    from.forEach((each, i) => {
      const look = getComputedStyle(each);
      LOOKS.forEach((key) => to[i].setAttribute(key, look.getPropertyValue(key)));
      to[i].removeAttribute("class");
    });
    return copy;
  };
  const title = (figure) => (figure.querySelector("h3, b, figcaption").firstChild.textContent).trim();
  const svgOf = (figure) => {
    const svg = copied(figure.querySelector("[data-frame]:not([hidden]) svg, :scope > svg"));
    const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
    const rows = [...figure.querySelectorAll(".legend li")];
    const whole = height + 24 + 16 * rows.length;
    const ink = getComputedStyle(figure).color;
    const words = { fill: ink, "font-size": "12px", "font-family": "system-ui, sans-serif" };
    svg.prepend(node("rect", { y: -24, width, height: whole, fill: getComputedStyle(figure).backgroundColor }));
    svg.append(node("text", { x: 6, y: -8, ...words }, title(figure)));
    rows.forEach((row, i) => {
      const y = height + 16 * i;
      const key = copied(row.querySelector("svg")).firstChild;
      key.setAttribute("transform", `translate(6 ${y})`);
      svg.append(key, node("text", { x: 42, y: y + 9, ...words }, row.textContent.trim()));
    });
    Object.entries({ xmlns: "http://www.w3.org/2000/svg", width, height: whole, viewBox: `0 -24 ${width} ${whole}` }).forEach(([key, value]) => svg.setAttribute(key, value));
    return new XMLSerializer().serializeToString(svg);
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    if (link && location.protocol === "about:") { // in a notebook's frame a link would load the notebook
      event.preventDefault();
      document.getElementById(link.hash.slice(1)).scrollIntoView();
    }
    const { save, csv } = event.target.dataset;
    if (!save) return;
    const figure = event.target.closest("figure");
    const content = save === "csv" ? new Blob([csv], { type: "text/csv" }) : new Blob([svgOf(figure)], { type: "image/svg+xml" });
    const file = document.createElement("a");
    file.href = URL.createObjectURL(content);
    file.download = `${title(figure).replace(/[^\p{L}\p{N}._-]+/gu, "-")}.${save}`;
    file.click();
    setTimeout(() => URL.revokeObjectURL(file.href), 10000);
  });

  const refresh = Number(document.documentElement.dataset.refresh);
  if (!refresh) return;
  const status = document.getElementById("status");
  let version = document.documentElement.dataset.version;
  // What a reader has moved stays where it is; a slider at its end stays at the end.
  const keep = () => {
    const focus = document.activeElement && document.activeElement.id;
    const open = [...document.querySelectorAll("details[open]")].map((each) => each.id);
    const linked = document.getElementById("linked");
    const places = sliders().map((each) => [each.id, each.value, each.value === each.max]);
    return () => {
      if (linked && document.getElementById("linked")) document.getElementById("linked").checked = linked.checked;
      open.forEach((id) => { const found = document.getElementById(id); if (found) found.open = true; });
      places.forEach(([id, value, end]) => { const found = document.getElementById(id); if (found && !end) found.value = value; });
      begin();
      if (focus && document.getElementById(focus)) document.getElementById(focus).focus({ preventScroll: true });
    };
  };
  const ask = async () => {
    try {
      const now = await (await fetch("version", { cache: "no-store" })).text();
      if (now !== version) {
        const answer = await fetch("./", { cache: "no-store" });
        if (!answer.ok) throw new Error(await answer.text());
        const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
        const restore = keep();
        document.querySelector("main").replaceWith(fresh.querySelector("main"));
        document.title = fresh.title;
        restore();
        version = now;
      }
      status.textContent = "Live: this page follows the run.";
    } catch (error) {
      status.textContent = "The server does not answer: this page is not updated any more.";
    }
    setTimeout(ask, refresh * 1000);
  };
  setTimeout(ask, refresh * 1000);
})();
