"use strict";

// Maps over phones of one head: relation maps and phoneme attention.

const phones = {choice: null, place: 0};

/** float16, little endian, to numbers; NaN becomes null. */
function halves(data) {
  const view = new DataView(data.buffer);
  return Array.from({length: data.length / 2}, (_, n) => {
    const bits = view.getUint16(2 * n, true);
    const sign = bits >> 15 ? -1 : 1, exponent = (bits >> 10) & 31, part = bits & 1023;
    if (exponent === 31) return part ? null : sign * Infinity;
    return exponent ? sign * 2 ** (exponent - 25) * (1024 + part) : sign * 2 ** -24 * part;
  });
}

function setUpPhonemes() {
  const several = new Set(DATA.phonemes.map((one) => one.model)).size > 1;
  const name = (one) => (several ? `${one.title}, ${DATA.models[one.model].name}` : one.title);
  fill(byId("phoneme-map"), DATA.phonemes.map((one, n) => [n, name(one)]), (value) => choosePhonemes(Number(value)));
  byId("phoneme-head").addEventListener("change", () => {
    phones.place = Number(byId("phoneme-head").value);
    drawPhonemes();
  });
  document.addEventListener("head", ({detail}) => {
    const now = DATA.phonemes[phones.choice];
    let choice = phones.choice;
    if (now.model !== detail.model) choice = DATA.phonemes.findIndex((one) => one.model === detail.model && one.key === now.key);
    if (choice < 0) return;
    const place = DATA.phonemes[choice].places.findIndex(([block, head]) => block === detail.block && head === detail.head);
    if (place >= 0) choosePhonemes(choice, place);
  });
  const seen = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    seen.disconnect();
    phones.seen = true;
    drawPhonemes();
  }, {rootMargin: "300px"});
  seen.observe(byId("phoneme-plot"));
  waiting.push(() => {
    phones.seen = true;
    drawPhonemes();
  });
  choosePhonemes(0);
}

function choosePhonemes(choice, place = phones.place) {
  const one = DATA.phonemes[choice];
  if (choice !== phones.choice) {
    fill(byId("phoneme-head"), one.places.map(([block, head], n) => [n, `block ${block}, head ${head}`]));
  }
  phones.choice = choice;
  phones.place = Math.min(place, one.places.length - 1);
  byId("phoneme-map").value = String(choice);
  byId("phoneme-head").value = String(phones.place);
  drawPhonemes();
}

function drawPhonemes() {
  if (!phones.seen) return;
  const one = DATA.phonemes[phones.choice];
  one.values ??= halves(bytes(byId(one.id).textContent));
  const count = one.symbols.length;
  const start = phones.place * count * count;
  const rows = one.symbols.map((_, n) => one.values.slice(start + n * count, start + (n + 1) * count));
  const [block, head] = one.places[phones.place];
  const title = `${one.title} of block ${block}, head ${head}`;
  byId("phoneme-title").replaceChildren(`${title} `, make("span", {class: "mark"}, one.mark));
  byId("phoneme-caption").textContent = `${one.caption} Colours end at ${show(one.neutral - one.reach)} and ${show(one.neutral + one.reach)}.`;
  byId("phoneme-plot").setAttribute("aria-label", title);
  const axis = {tickmode: "array", tickvals: one.symbols, showgrid: false, zeroline: false, tickfont: {size: 10}, constrain: "domain"};
  drawFigure(byId("phoneme-plot"), {
    data: [{
      type: "heatmap", z: rows, x: one.symbols, y: one.symbols, colorscale: "@diverging",
      zmin: one.neutral - one.reach, zmax: one.neutral + one.reach, xgap: 1, ygap: 1,
      colorbar: {thickness: 12, outlinewidth: 0, len: 0.9},
      hovertemplate: "at %{y} to %{x}: %{z:.3g}<extra></extra>",
    }],
    layout: {
      height: Math.min(640, byId("phoneme-plot").clientWidth + 20),
      xaxis: {...axis, title: {text: "phone attended to"}},
      yaxis: {...axis, title: {text: "phone of the query"}, autorange: "reversed", scaleanchor: "x"},
    },
  });
}
