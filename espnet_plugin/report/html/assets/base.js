"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);

/** An element: make("p", {class: "quiet"}, "text", child, …). */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

const byId = (id) => document.getElementById(id);

/** Four significant digits, or an exponent where a number is very small. */
function show(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  if (value !== 0 && Math.abs(value) < 1e-3) return value.toExponential(2).replace("-", "−");
  return Number(value.toPrecision(digits)).toString().replace("-", "−");
}

function bytes(text) {
  const raw = atob(text);
  const found = new Uint8Array(raw.length);
  for (let n = 0; n < raw.length; n++) found[n] = raw.charCodeAt(n);
  return found;
}

/** Base64 that the page holds, as a Blob; null where there is none. */
function media(id, type) {
  const holder = byId(id);
  return holder ? new Blob([bytes(holder.textContent)], {type}) : null;
}

// -- Light and dark ------------------------------------------------------------------------

const dark = matchMedia("(prefers-color-scheme: dark)");
let printing = false;

function isDark() {
  if (printing) return false;
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : dark.matches;
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

const listeners = [];
/** Call back now and whenever light and dark change. */
function themed(callback) {
  listeners.push(callback);
}
function retheme() {
  for (const callback of listeners) callback();
}
dark.addEventListener("change", retheme);

function setUpTheme() {
  const button = byId("theme");
  const label = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Change to ${isDark() ? "light" : "dark"} colours`);
  };
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    retheme();
  });
  themed(label);
  label();
  addEventListener("beforeprint", () => startPrint());
  addEventListener("afterprint", () => endPrint());
}

let themeBefore = null;
/** Light colours, as wide as paper, and everything drawn. */
function startPrint() {
  if (printing) return;
  printing = true;
  themeBefore = document.documentElement.dataset.theme ?? null;
  document.documentElement.dataset.theme = "light";
  document.documentElement.classList.add("printing");
  retheme();
  drawAll();
}

function endPrint() {
  printing = false;
  if (themeBefore) document.documentElement.dataset.theme = themeBefore;
  else delete document.documentElement.dataset.theme;
  document.documentElement.classList.remove("printing");
  retheme();
}

// -- Tabs and the way through them by keyboard ------------------------------------------------

/** One tab stop for many buttons: arrow keys, Home and End move within `columns` per row. */
function roving(buttons, columns, chosen) {
  const step = {ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns};
  buttons.forEach((button, at) => {
    if (!button) return;
    button.tabIndex = at === chosen ? 0 : -1;
    button.addEventListener("keydown", (event) => {
      let to = null;
      if (event.key in step) {
        const move = step[event.key];
        to = at + move;
        while (to >= 0 && to < buttons.length && !buttons[to]) to += move;
        if (Math.abs(move) === 1 && columns > 1 && Math.floor(to / columns) !== Math.floor(at / columns)) to = null;
      } else if (event.key === "Home") to = buttons.findIndex(Boolean);
      else if (event.key === "End") to = buttons.length - 1;
      else return;
      event.preventDefault();
      if (to === null || !buttons[to]) return;
      for (const one of buttons) if (one) one.tabIndex = -1;
      buttons[to].tabIndex = 0;
      buttons[to].focus();
      buttons[to].dispatchEvent(new Event("walk"));
    });
  });
}

function setUpTabs() {
  for (const list of document.querySelectorAll('[role="tablist"]')) {
    const tabs = [...list.querySelectorAll('[role="tab"]')];
    const choose = (chosen) => {
      for (const tab of tabs) {
        tab.setAttribute("aria-selected", String(tab === chosen));
        byId(tab.getAttribute("aria-controls")).hidden = tab !== chosen;
      }
      const panel = byId(chosen.getAttribute("aria-controls"));
      for (const plot of panel.querySelectorAll(".js-plotly-plot")) Plotly.Plots.resize(plot);
    };
    for (const tab of tabs) {
      tab.addEventListener("click", () => choose(tab));
      tab.addEventListener("walk", () => choose(tab));
    }
    roving(tabs, 1, 0);
  }
}

/** Mark in the navigation what is being read. */
function setUpNavigation() {
  const links = new Map([...document.querySelectorAll(".top nav a")].map((a) => [a.hash.slice(1), a]));
  const there = new Set();
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) there.add(entry.target.id);
      else there.delete(entry.target.id);
    }
    const now = [...links.keys()].find((id) => there.has(id));
    for (const [id, link] of links) {
      if (id === now) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }, {rootMargin: "-25% 0px -70% 0px"});
  for (const id of links.keys()) seen.observe(byId(id));
}
