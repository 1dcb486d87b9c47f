"use strict";

// Figures are plotly's. Colours in their descriptions are names, so that one description serves
// light, dark and paper: "@0" to "@7" of models and series, "@sequential", "@diverging", "@ink".

const SERIES = {
  light: ["#0072B2", "#D55E00", "#009E73", "#AA3377", "#B8860B", "#332288", "#56B4E9", "#555555"],
  dark: ["#56B4E9", "#FF9457", "#3DD3A8", "#F09BC7", "#F0E442", "#B3A6FF", "#A8DCF7", "#BBBBBB"],
};
const CIVIDIS = [[0, "#00224e"], [0.125, "#123570"], [0.25, "#3b496c"], [0.375, "#575d6d"], [0.5, "#707173"],
  [0.625, "#8a8678"], [0.75, "#a59c74"], [0.875, "#c3b369"], [1, "#fee838"]];
const DIVERGING = {
  light: [[0, "#00436b"], [0.25, "#5b9dc6"], [0.5, "#f7f7f5"], [0.75, "#e08a4f"], [1, "#8a3300"]],
  dark: [[0, "#8fd0ff"], [0.25, "#2f6d9c"], [0.5, "#1d2129"], [0.75, "#a8541c"], [1, "#ffb37a"]],
};

function coloured(value) {
  if (Array.isArray(value)) return value.map(coloured);
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, coloured(one)]));
  }
  if (typeof value !== "string" || value[0] !== "@") return value;
  const mode = isDark() ? "dark" : "light";
  if (value === "@sequential") return CIVIDIS;
  if (value === "@diverging") return DIVERGING[mode];
  if (/^@\d$/.test(value)) return SERIES[mode][Number(value[1])];
  return colour(value.slice(1));
}

function layoutOf(layout) {
  const ink = colour("ink");
  const base = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: {family: colour("font"), size: 12, color: ink},
    margin: {l: 58, r: 16, t: 30, b: 44}, hovermode: "closest",
    legend: {orientation: "h", y: -0.2, x: 0},
    hoverlabel: {font: {family: colour("font")}},
  };
  const found = {...base, ...coloured(layout)};
  for (const key of Object.keys(found).filter((name) => /^[xy]axis\d*$/.test(name))) {
    found[key] = {gridcolor: colour("line"), zerolinecolor: colour("line"), linecolor: colour("line"),
      automargin: true, ...found[key]};
  }
  return found;
}

let plotly = null;
/** plotly.js is in the page, compressed; it is unpacked when the first figure is about to be seen. */
function loadPlotly() {
  plotly ??= (async () => {
    const holder = byId("plotly");
    const stream = media("plotly").stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(stream).text();
    document.head.append(script);
    holder.remove();
    return window.Plotly;
  })();
  return plotly;
}

const drawn = new Map();

async function drawFigure(holder, spec) {
  drawn.set(holder, spec);
  const library = await loadPlotly();
  const layout = layoutOf(spec.layout);
  if (layout.yaxis?.scaleanchor) {
    layout.height = Math.min(layout.height, holder.clientWidth + 40);
    holder.style.height = `${layout.height}px`;
  }
  if (printing) layout.width = holder.clientWidth;
  else layout.autosize = true;
  await library.react(holder, coloured(spec.data), layout, {
    responsive: true, displaylogo: false, displayModeBar: "hover",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "sendChartToCloud", "sendDataToCloud"],
    plotlyServerURL: "",  // nothing is sent anywhere
    toImageButtonOptions: {format: "svg", filename: holder.id},
  });
  holder.dataset.drawn = "true";
}

let waiting = [];
function drawAll() {
  for (const draw of waiting) draw();
  waiting = [];
}

function setUpFigures() {
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      drawFigure(entry.target, DATA.figures[entry.target.dataset.figure]);
    }
  }, {rootMargin: "400px"});
  for (const holder of document.querySelectorAll("[data-figure]")) {
    holder.style.height = `${DATA.figures[holder.dataset.figure].layout.height ?? 320}px`;
    seen.observe(holder);
    waiting.push(() => {
      seen.unobserve(holder);
      if (!drawn.has(holder)) drawFigure(holder, DATA.figures[holder.dataset.figure]);
    });
  }
  const own = () => {
    const series = SERIES[isDark() ? "dark" : "light"];
    for (const card of document.querySelectorAll(".model")) {
      card.style.setProperty("--own", series[Number(card.dataset.model) % series.length]);
    }
  };
  own();
  themed(() => {
    own();
    for (const [holder, spec] of drawn) drawFigure(holder, spec);
  });
}
