"use strict";

// A map that is kept beside the one that is looked at: of any model, block and head, of the same
// utterance, at the same stretch of time.

const kept = {at: null, shown: null, view: null};

function setUpKept() {
  kept.view = new MapView(byId("kept-stage"), {
    seek: (frame) => seek(kept.view.time(frame)),
    read: (text) => { byId("kept-readout").textContent = text ?? ""; },
    play: playOrPause,
    looked: () => browser.view.like(kept.view),
    pointed: () => browser.view.pointLike(kept.view),
  });
  byId("keep").addEventListener("click", () => {
    const {model, block, head} = browser;
    kept.at = {model, block, head};
    showKept();
  });
  byId("let-go").addEventListener("click", () => {
    kept.at = null;
    showKept();
    byId("keep").focus();
  });
}

/** Show the kept head's map of the utterance that is looked at, if its model has one. */
async function showKept() {
  const {at} = kept;
  byId("shown-name").hidden = at === null;
  byId("maps").classList.toggle("two", at !== null);
  byId("kept").hidden = at === null;
  const {id} = utteranceNow();
  const utterances = at ? DATA.models[at.model].examples.utterances : [];
  const number = utterances.findIndex((one) => one.id === id);
  const shown = number < 0 ? null : `${at.model}-${number}-${at.block}-${at.head}`;
  if (shown && shown === kept.shown) return;
  kept.shown = shown;
  kept.view.levels = null;
  delete byId("kept-stage").dataset.shown;
  byId("kept-stage").hidden = number < 0;
  kept.view.told.read(null);
  if (at === null) return;
  const model = DATA.models[at.model];
  const name = `${model.name}, block ${at.block}, head ${at.head}`;
  byId("kept-name").textContent = number < 0 ? `Kept: ${name}; it has no map of this utterance.` : `Kept: ${name}`;
  if (number < 0) return;
  const one = utterances[number];
  const leader = leaderOf(model, at.block);
  const {maximum} = one.blocks.find((found) => found.block === leader).heads[at.head];
  const picture = await pictureOf(`p-${at.model}-${number}-${leader}-${at.head}`);
  if (kept.shown !== shown) return;
  setUtterance(kept.view, at.model, one);
  kept.view.setMap(picture, maximum, `Attention map of ${name}, kept to compare, utterance ${id}, ${one.frames} frames`);
  kept.view.like(browser.view);
  byId("kept-stage").dataset.shown = shown;
}
