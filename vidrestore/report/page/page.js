"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");

  // Before | after: the range input holds the place and answers to keys; pointers anywhere on the picture move it.
  for (const compare of document.querySelectorAll(".compare")) {
    const input = compare.querySelector("input");
    let waiting = null;
    const show = () => {
      const before = Math.round(Number(input.value));
      compare.style.setProperty("--at", `${input.value}%`);
      input.setAttribute("aria-valuetext", `${before} % before, ${100 - before} % after`);
    };
    const follow = (event) => {
      const box = compare.getBoundingClientRect();
      const share = (event.clientX - box.left) / box.width;
      input.value = String(Math.round(100 * Math.min(1, Math.max(0, share))));
      show();
    };
    compare.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      event.preventDefault();
      compare.setPointerCapture(event.pointerId);
      input.focus({ preventScroll: true });
      // A finger may be about to scroll the page: the line waits until it moves across, or is lifted where it was.
      waiting = event.pointerType === "touch" ? event : null;
      if (!waiting) follow(event);
    });
    compare.addEventListener("pointermove", (event) => {
      if (!compare.hasPointerCapture(event.pointerId)) return;
      if (waiting && Math.abs(event.clientX - waiting.clientX) <= Math.abs(event.clientY - waiting.clientY)) return;
      waiting = null;
      follow(event);
    });
    compare.addEventListener("pointerup", (event) => {
      if (compare.hasPointerCapture(event.pointerId)) follow(event);
    });
    input.addEventListener("input", show);
    show();
  }

  // Plots: the values at the pointer.
  const clock = (seconds) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(2).padStart(5, "0")}`;
  for (const plot of document.querySelectorAll(".plot")) {
    const area = plot.querySelector(".area");
    const cross = plot.querySelector(".cross");
    const readout = plot.querySelector(".readout");
    const start = Number(area.dataset.start);
    const span = Number(area.dataset.span);
    const lines = [...area.querySelectorAll("path[data-values]")].map((path) => ({
      name: path.dataset.name,
      points: path.dataset.values.split(" ").filter(Boolean).map((point) => point.split(",").map(Number)),
    }));
    const nearest = (points, at) => points.reduce((best, point) => (Math.abs(point[0] - at) < Math.abs(best[0] - at) ? point : best));
    area.addEventListener("pointermove", (event) => {
      const box = area.getBoundingClientRect();
      const at = start + (span * (event.clientX - box.left)) / box.width;
      const found = lines.filter((line) => line.points.length).map((line) => [line.name, nearest(line.points, at)]);
      if (!found.length) return;
      const time = found[0][1][0];
      const x = `${(100 * (time - start)) / span}%`;
      cross.setAttribute("x1", x);
      cross.setAttribute("x2", x);
      plot.classList.add("read");
      const values = found.map(([name, point]) => (found.length > 1 ? `${name} ` : "") + Number(point[1].toPrecision(3)));
      readout.textContent = `${clock(time)}  ${values.join(", ")}`;
    });
    area.addEventListener("pointerleave", () => {
      plot.classList.remove("read");
      readout.textContent = "";
    });
  }

  // On paper nothing can be opened.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const details of opened) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of opened) details.open = false;
  });
})();
