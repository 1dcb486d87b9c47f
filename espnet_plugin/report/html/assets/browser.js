"use strict";

// The head browser: pick model, utterance, block and head; see the map, hear the sound.

const browser = {model: 0, utterance: 0, block: 0, head: 0};

function setUpBrowser() {
  const models = DATA.models.map((one, n) => [one, n]).filter(([one]) => one.examples);
  if (!models.length) return;
  browser.view = new MapView(byId("stage"), {
    seek: (frame) => seek(browser.clock.timeOf(frame)),
    read: (text) => { byId("readout").textContent = text ?? "Point at the map to read a weight."; },
    play: playOrPause,
    looked: () => kept.view.levels && kept.view.like(browser.view),
    pointed: () => kept.view.levels && kept.view.pointLike(browser.view),
  });
  setUpKept();
  browser.audio = byId("audio");
  fill(byId("pick-model"), models.map(([one, n]) => [n, one.name]), (value) => chooseModel(Number(value)));
  byId("pick-model").parentElement.hidden = models.length < 2;
  byId("pick-colours").addEventListener("change", recolour);
  byId("gain").addEventListener("input", recolour);
  byId("zoom-in").addEventListener("click", () => browser.view.zoomHere(0.7));
  byId("zoom-out").addEventListener("click", () => browser.view.zoomHere(1 / 0.7));
  byId("zoom-reset").addEventListener("click", () => browser.view.reset());
  setUpSound();
  themed(() => {
    browser.view.draw();
    kept.view.draw();
    if (printing) byId("printed").src = browser.view.under.toDataURL();
    if (printing && kept.at) byId("printed-kept").src = kept.view.under.toDataURL();
  });
  chooseModel(models[0][1]);
}

function fill(select, options, changed) {
  select.replaceChildren(...options.map(([value, label]) => make("option", {value}, label)));
  if (changed) select.addEventListener("change", () => changed(select.value));
}

function recolour() {
  for (const view of [browser.view, kept.view]) view.setColours(byId("pick-colours").value, Number(byId("gain").value));
  drawThumbnails();
}

const modelNow = () => DATA.models[browser.model];
const utteranceNow = () => modelNow().examples.utterances[browser.utterance];

function clockOf(model) {
  const {clock} = DATA.models[model].examples;
  return {
    frameOf: (time) => (time * clock.rate - clock.centre) / clock.shift + 0.5,
    timeOf: (frame) => ((frame - 0.5) * clock.shift + clock.centre) / clock.rate,
  };
}

function chooseModel(model) {
  const before = browser.clock ? utteranceNow().id : null;
  browser.model = model;
  byId("pick-model").value = String(model);
  const {utterances} = modelNow().examples;
  browser.clock = clockOf(model);
  const select = byId("pick-utterance");
  fill(select, utterances.map((one, n) => [n, `${one.id} – ${one.seconds.toFixed(1)} s, ${one.frames} frames`]));
  select.onchange = () => chooseUtterance(Number(select.value));
  const same = utterances.findIndex((one) => one.id === before);
  chooseUtterance(same >= 0 ? same : utterances.length - 1);
}

/** Give a view an utterance of a model. */
function setUtterance(view, model, one) {
  const {frameOf, timeOf} = clockOf(model);
  const inFrames = (intervals) => intervals.map(([start, end, label]) => ({start: frameOf(start), end: frameOf(end), label}));
  view.setUtterance({
    frames: one.frames, phones: inFrames(one.phones), words: inFrames(one.words), time: timeOf, frame: frameOf,
    outline: bytes(one.outline), start: frameOf(0), end: frameOf(one.seconds),
  });
}

/** The block that the map of `block` comes from. */
function leaderOf(model, block) {
  const group = model.groups.find((one) => one.includes(block));
  return group ? group[0] : null;
}

function headOf(block, head) {
  const leader = leaderOf(modelNow(), block);
  const found = utteranceNow().blocks.find((one) => one.block === leader);
  return found?.heads[head] ?? null;
}

function chooseUtterance(utterance) {
  browser.utterance = utterance;
  byId("pick-utterance").value = String(utterance);
  const one = utteranceNow();
  setUtterance(browser.view, browser.model, one);
  loadSound(one);
  showWords(one);
  showGrid();
  drawThumbnails();
  const blocks = modelNow().blocks;
  const fits = browser.block < blocks && headOf(browser.block, browser.head);
  if (fits) chooseHead(browser.block, browser.head);
  else {
    const first = one.blocks[0];
    chooseHead(first.block, first.heads[0].head);
  }
}

// -- Blocks and heads ----------------------------------------------------------------------------

function categoryOf(block, head) {
  const found = modelNow().attention?.[block]?.heads[head];
  return found ? found.category : null;
}

function showGrid() {
  const model = modelNow();
  const most = Math.max(...utteranceNow().blocks.map((one) => one.heads.length));
  const grid = byId("grid");
  grid.style.setProperty("--columns", most);
  grid.replaceChildren(make("span", {}, "block"), ...Array.from({length: most}, (_, head) => make("span", {}, `${head}`)));
  browser.buttons = [];
  for (let block = 0; block < model.blocks; block++) {
    const leader = leaderOf(model, block);
    grid.append(make("span", {}, leader === block || leader === null ? `${block}` : `${block} = ${leader}`));
    for (let head = 0; head < most; head++) {
      const there = headOf(block, head) !== null;
      if (!there) {
        grid.append(make("span", {class: "none"}, ""));
        browser.buttons.push(null);
        continue;
      }
      const category = categoryOf(block, head);
      const name = `block ${block}, head ${head}${category ? `, ${category}` : ""}`;
      const button = make("button", {type: "button", role: "radio", class: category ?? "", "aria-label": name, title: name},
        make("canvas", {width: 48, height: 48, "aria-hidden": "true"}));
      button.addEventListener("click", () => chooseHead(block, head));
      button.addEventListener("walk", () => chooseHead(block, head));
      button.place = {block, head};
      grid.append(button);
      browser.buttons.push(button);
    }
  }
  roving(browser.buttons, most, browser.buttons.findIndex(Boolean));
}

async function drawThumbnails() {
  const one = utteranceNow();
  browser.sheets ??= new Map();
  if (!browser.sheets.has(one)) browser.sheets.set(one, await decodePicture(media(`t-${browser.model}-${browser.utterance}`, "image/webp")));
  if (one !== utteranceNow()) return;
  const sheet = browser.sheets.get(one);
  const painted = paint(sheet, palette(byId("pick-colours").value, Number(byId("gain").value)), sheet.height);
  const rows = new Map(one.blocks.map((found, row) => [found.block, row]));
  for (const button of browser.buttons) {
    if (!button) continue;
    const row = rows.get(leaderOf(modelNow(), button.place.block));
    button.firstChild.getContext("2d").drawImage(painted, button.place.head * 48, row * 48, 48, 48, 0, 0, 48, 48);
  }
}

const pictures = new Map();

/** The decoded picture of a head; the last few are kept. */
function pictureOf(id) {
  if (!pictures.has(id)) {
    pictures.set(id, decodePicture(media(id, "image/webp")));
    if (pictures.size > 6) pictures.delete(pictures.keys().next().value);
  }
  return pictures.get(id);
}

async function chooseHead(block, head) {
  Object.assign(browser, {block, head});
  for (const button of browser.buttons) {
    if (!button) continue;
    const chosen = button.place.block === block && button.place.head === head;
    button.setAttribute("aria-checked", String(chosen));
    button.tabIndex = chosen ? 0 : -1;
  }
  const leader = leaderOf(modelNow(), block);
  const found = headOf(block, head);
  const category = categoryOf(block, head);
  const name = `Block ${block}, head ${head}`;
  byId("head-name").textContent = `${name}${category ? ` – ${category}` : ""}${leader === block ? "" : ` (the map of block ${leader})`}`;
  showFigures(found);
  document.dispatchEvent(new CustomEvent("head", {detail: {model: browser.model, block: leader, head}}));
  const one = utteranceNow();
  const picture = await pictureOf(`p-${browser.model}-${browser.utterance}-${leader}-${head}`);
  if (one !== utteranceNow() || browser.block !== block || browser.head !== head) return;
  browser.view.setMap(picture, found.maximum, `Attention map of ${name.toLowerCase()}, utterance ${one.id}, ${one.frames} frames`);
  byId("shown-name").textContent = `Looked at: ${modelNow().name}, block ${block}, head ${head}`;
  byId("stage").dataset.shown = `${browser.model}-${browser.utterance}-${block}-${head}`;
  showKept();
  byId("stage").dataset.opened ??= performance.now().toFixed(0);  // since the page was asked for
}

function showFigures(found) {
  const entries = DATA.measures.filter(([key]) => found[key] !== undefined).map(([key, title, mark, unit]) =>
    make("div", {}, make("dt", {}, `${title} `, make("span", {class: "mark"}, mark)), make("dd", {}, `${show(found[key])}${unit}`)));
  const quality = found.quality === 100 ? "lossless" : `WebP ${found.quality}, off by ${found.error.toFixed(1)} of 255 levels`;
  entries.push(make("div", {}, make("dt", {}, "Largest weight"), make("dd", {}, show(found.maximum))));
  byId("head-figures").replaceChildren(...entries);
  byId("quality").textContent = quality;
}

// -- Sound ---------------------------------------------------------------------------------------

function loadSound(one) {
  const blob = media(`s-${browser.model}-${browser.utterance}`, one.kind);
  if (browser.url) URL.revokeObjectURL(browser.url);
  browser.url = URL.createObjectURL(blob);
  browser.audio.src = browser.url;
}

function setUpSound() {
  const {audio, view} = browser;
  const move = () => {
    view.setCursor(browser.clock.frameOf(audio.currentTime));
    if (kept.view.levels) kept.view.setCursor(kept.view.frame(audio.currentTime));
    markWord(audio.currentTime);
  };
  const step = () => {
    move();
    if (!audio.paused) requestAnimationFrame(step);
  };
  audio.addEventListener("play", () => {
    view.following = true;
    requestAnimationFrame(step);
  });
  audio.addEventListener("pause", () => { view.following = false; });
  audio.addEventListener("seeked", move);
  byId("speed").addEventListener("change", () => { audio.playbackRate = Number(byId("speed").value); });
}

function seek(seconds) {
  const {audio} = browser;
  audio.currentTime = Math.min(Math.max(0, seconds), utteranceNow().seconds);
}

function playOrPause() {
  if (browser.audio.paused) browser.audio.play();
  else browser.audio.pause();
}

function showWords(one) {
  const holder = byId("words");
  if (!one.words.length) {
    holder.replaceChildren(one.text);
    return;
  }
  holder.replaceChildren(...one.words.flatMap(([start, end, label]) => {
    const button = make("button", {type: "button", tabindex: "-1"}, label);
    button.span = [start, end];
    button.addEventListener("click", () => seek(start));
    return [button, " "];
  }));
  roving([...holder.querySelectorAll("button")], 1, 0);
}

function markWord(time) {
  for (const button of byId("words").querySelectorAll("button")) {
    button.classList.toggle("now", button.span[0] <= time && time < button.span[1]);
  }
}
