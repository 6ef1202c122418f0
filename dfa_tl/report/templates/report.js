// Draws the figures, and makes sliders, tables and scrolled parts work by mouse, keyboard and touch.
(() => {
  "use strict";
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const announce = (text) => {
    document.getElementById("announcer").textContent = text;
  };

  // Figures -----------------------------------------------------------------------------------
  const coarse = matchMedia("(pointer: coarse)").matches;
  // No bar of buttons: one of them would send the figure to a host, and none work by keyboard.
  const config = { responsive: true, displayModeBar: false, showSendToCloud: false, showTips: false };

  const begun = new Set();
  const draw = async (figure) => {
    if (begun.has(figure)) return;
    begun.add(figure);
    const plot = figure.querySelector(".plot");
    const { data, layout, frames, steps, start } = JSON.parse(
      figure.querySelector('script[type="application/json"]').textContent,
    );
    // A finger that scrolls the page must not zoom a figure.
    if (coarse) layout.dragmode = false;
    await Plotly.newPlot(plot, { data, layout, frames, config });
    plot.on("plotly_afterplot", reachable);
    if (steps.length) slide(figure, plot, steps, start);
    figure.dataset.drawn = "";
  };

  const slide = (figure, plot, steps, start) => {
    const slider = figure.querySelector("input[type=range]");
    const output = figure.querySelector("output");
    const show = (index) => {
      output.textContent = steps[index].text;
      slider.setAttribute("aria-valuetext", steps[index].text);
    };
    slider.value = start;
    show(start);
    slider.addEventListener("input", () => {
      const step = steps[Number(slider.value)];
      show(Number(slider.value));
      Plotly[step.method](plot, ...step.args);
    });
  };

  // Tables ------------------------------------------------------------------------------------
  const compare = (first, second) => {
    const one = Number(first), other = Number(second);
    const numbers = first !== "" && second !== "" && !Number.isNaN(one) && !Number.isNaN(other);
    return numbers ? one - other : first.localeCompare(second, "en", { numeric: true });
  };

  const sort = (table, heading, index) => {
    const rising = heading.getAttribute("aria-sort") !== "ascending";
    const value = (row) => row.cells[index].dataset.sort;
    const rows = all("tbody tr", table).sort((one, other) => {
      const [a, b] = [value(one), value(other)];
      if (a === "" || b === "") return (a === "") - (b === ""); // missing ones stay last
      return rising ? compare(a, b) : compare(b, a);
    });
    table.tBodies[0].append(...rows);
    for (const other of all("th", table.tHead)) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
    announce(`Sorted by ${heading.textContent.trim()}, ${rising ? "ascending" : "descending"}`);
  };

  for (const table of all("table.sortable")) {
    all("th", table.tHead).forEach((heading, index) => {
      heading.querySelector("button").addEventListener("click", () => sort(table, heading, index));
    });
  }

  // Parts that scroll can be reached by keyboard, and only those --------------------------------
  const reachable = () => {
    for (const part of all(".scroll")) {
      const scrolls =
        part.scrollWidth > part.clientWidth + 1 || part.scrollHeight > part.clientHeight + 1;
      for (const [name, value] of Object.entries({
        tabindex: "0",
        role: "region",
        "aria-label": part.dataset.label || "Listing",
      })) {
        if (scrolls) part.setAttribute(name, value);
        else part.removeAttribute(name);
      }
    }
  };

  const sizes = new ResizeObserver(reachable);
  for (const part of all(".scroll, .scroll > *")) sizes.observe(part);

  // What is folded has no width: it is drawn once it is opened, and fitted when opened again -----
  for (const details of all("details.further")) {
    details.addEventListener("toggle", async () => {
      if (!details.open) return;
      for (const figure of all("figure.drawing", details)) {
        await draw(figure);
        if (details.open) await Plotly.Plots.resize(figure.querySelector(".plot"));
      }
    });
  }
  addEventListener("beforeprint", () => {
    for (const details of all("details")) details.open = true;
    for (const figure of all("figure.drawing")) draw(figure);
  });
  (async () => {
    for (const figure of all("figure.drawing")) {
      if (!figure.closest("details:not([open])")) await draw(figure);
    }
    document.documentElement.dataset.ready = "";
  })();
})();
