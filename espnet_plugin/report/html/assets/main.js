"use strict";

// A head that is chosen in a table is shown in the browser, and the other way round.
function setUpHeadTables() {
  for (const table of document.querySelectorAll("table.heat")) {
    const rows = [...table.querySelectorAll("tbody tr")];
    const columns = Number(table.dataset.columns);
    const buttons = rows.flatMap((row) => {
      const cells = [...row.querySelectorAll("td")].map((cell) => cell.querySelector("button"));
      return [...cells, ...Array(columns - cells.length).fill(null)];
    });
    roving(buttons, columns, buttons.findIndex(Boolean));
    for (const button of buttons) {
      if (!button) continue;
      button.addEventListener("click", () => openHead(Number(table.dataset.model), Number(button.dataset.block), Number(button.dataset.head)));
    }
  }
}

function openHead(model, block, head) {
  if (!DATA.models[model].examples) return;
  if (browser.model !== model) chooseModel(model);
  chooseHead(block, head);
  byId("browser").scrollIntoView();
}

function markHead({model, block, head}) {
  for (const table of document.querySelectorAll("table.heat")) {
    for (const button of table.querySelectorAll("button")) {
      const chosen = Number(table.dataset.model) === model && Number(button.dataset.leader) === block && Number(button.dataset.head) === head;
      button.setAttribute("aria-pressed", String(chosen));
    }
  }
}

document.addEventListener("head", (event) => markHead(event.detail));
setUpTheme();
setUpTabs();
setUpNavigation();
setUpHeadTables();
setUpFigures();
if (byId("phoneme-map")) setUpPhonemes();
if (byId("browser")) setUpBrowser();
