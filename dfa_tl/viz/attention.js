// Draws every view that is not drawn yet. Heads, which circuitsvis chooses among by mouse, become
// buttons.
(() => {
  const choices = (stage, drawing) => {
    const boxes = [...drawing.querySelectorAll("h4")].map((h4) => h4.parentElement.parentElement);
    const press = (chosen) =>
      boxes.forEach((box) => box.setAttribute("aria-pressed", String(box === chosen)));
    for (const box of boxes) {
      box.parentElement.classList.add("dfa-choice");
      box.setAttribute("role", "button");
      box.setAttribute("tabindex", "0");
      box.setAttribute("aria-label", `Show head ${box.querySelector("h4").textContent}`);
      box.addEventListener("click", () => press(box));
      box.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        box.click();
      });
    }
    press(boxes[0]);
    for (const heading of drawing.querySelectorAll("h2, h3, h4")) {
      heading.setAttribute("role", "presentation");
    }
    const label = stage.querySelector(".dfa-label").textContent;
    for (const canvas of drawing.querySelectorAll("canvas")) {
      canvas.setAttribute("aria-label", `attention pattern, ${label}`);
    }
  };
  for (const stage of document.querySelectorAll(".dfa-stage:not([data-drawn])")) {
    const { component, props } = JSON.parse(stage.querySelector("script").textContent);
    const drawing = stage.querySelector(".dfa-drawing");
    drawing.id = `dfa-drawing-${document.querySelectorAll('[id^="dfa-drawing-"]').length}`;
    stage.dataset.drawn = component;
    if (component === "AttentionHeads") {
      new MutationObserver((_, observer) => {
        if (!drawing.querySelector("h4")) return;
        observer.disconnect();
        choices(stage, drawing);
      }).observe(drawing, { childList: true, subtree: true });
    }
    CircuitsVis.render(drawing.id, CircuitsVis[component], props);
  }
})();
