"use strict";
(() => {
  const show = (slider) => {
    const reel = slider.closest("[data-reel]");
    reel.querySelectorAll("[data-frame]").forEach((frame, i) => { frame.hidden = i !== Number(slider.value); });
    const words = reel.querySelector("[data-frame]:not([hidden])").dataset.frame;
    reel.querySelector("output").textContent = words;
    slider.setAttribute("aria-valuetext", words);
  };
  const begin = () => document.querySelectorAll("[data-reel]").forEach((reel) => {
    reel.querySelector(".controls").hidden = reel.querySelectorAll("[data-frame]").length < 2;
    show(reel.querySelector("input"));
  });
  document.addEventListener("input", (event) => { if (event.target.matches("[data-reel] input")) show(event.target); });
  begin();

  const refresh = Number(document.documentElement.dataset.refresh);
  if (!refresh) return;
  const status = document.getElementById("status");
  let version = document.documentElement.dataset.version;
  // What a reader has moved stays where it is; a slider at its end stays at the end.
  const keep = () => {
    const focus = document.activeElement && document.activeElement.id;
    const open = [...document.querySelectorAll("details[open]")].map((each) => each.id);
    const places = [...document.querySelectorAll("[data-reel] input")].map((each) => [each.id, each.value, each.value === each.max]);
    return () => {
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
