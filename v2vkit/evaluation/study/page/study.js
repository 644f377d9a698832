"use strict";
// A rater's session: shows one pair at a time, keeps every answer in this browser, and sends it where a server collects
// them (`v2v study --serve`). On any other web server the answers are downloaded as a file at the end.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const NO_PROBLEM = "";
const RETRY_MS = 3000;
const PATIENCE_MS = 8000; // after that, clips start in a browser that does not preload

// ---- the rater and what is stored -----------------------------------------------------------------------------------

const asked = new URLSearchParams(location.search).get("rater");
const named = asked !== null && /^[A-Za-z0-9_-]{1,64}$/.test(asked) ? asked : null;
const slot = `v2v-study-${data.study}` + (named === null ? "" : `-${named}`);

function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function load() {
  try {
    const stored = JSON.parse(localStorage.getItem(slot));
    if (stored && typeof stored.rater === "string" && stored.answers && stored.sent) return stored;
  } catch (error) { /* no storage, or damaged: begin anew */ }
  return { rater: named ?? randomId(), answers: {}, sent: {} };
}

function store() {
  try {
    localStorage.setItem(slot, JSON.stringify(state));
  } catch (error) {
    tell("This browser keeps nothing: finish in one go, without closing the page.");
  }
}

const state = load();

// ---- order: every rater walks the same cycle from another point, in one of both directions, perhaps mirrored --------

function hash(text) { // FNV-1a, then murmur3's finaliser, because nearby ids must give unlike numbers
  let h = 0x811c9dc5;
  for (const character of text) h = Math.imul(h ^ character.codePointAt(0), 0x01000193);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

function session(rater) {
  const number = data.trials.length;
  const start = hash(`start ${data.study} ${rater}`) % number;
  const step = hash(`direction ${data.study} ${rater}`) % 2 ? 1 : number - 1;
  const mirrored = hash(`sides ${data.study} ${rater}`) % 2 === 1;
  return data.trials.map((_, index) => {
    const trial = data.trials[(start + index * step) % number];
    return mirrored ? { id: trial.id, left: trial.right, right: trial.left } : trial;
  });
}

const trials = session(state.rater);

// ---- sending --------------------------------------------------------------------------------------------------------

let collecting = false; // a server answers that it collects this study
let sending = false;

async function findServer() {
  if (location.protocol === "file:") return;
  try {
    const response = await fetch("api/study", { cache: "no-store" });
    if (!response.ok || (await response.json()).study !== data.study) return;
    collecting = true;
    const known = await fetch(`api/answers?rater=${encodeURIComponent(state.rater)}`, { cache: "no-store" });
    if (!known.ok) return;
    for (const id of (await known.json()).answered) state.sent[id] = true;
    store();
  } catch (error) { /* a plain web server, or none that answers now */ }
}

const unsent = () => Object.values(state.answers).filter((answer) => !state.sent[answer.trial]);

async function send() {
  if (!collecting || sending) return;
  sending = true;
  try {
    for (let waiting = unsent(); waiting.length; waiting = unsent()) {
      const response = await fetch("api/answers", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(waiting[0]),
        keepalive: true,
      });
      if (!response.ok) throw new Error(`status ${response.status}`);
      state.sent[waiting[0].trial] = true;
      store();
    }
    tell(NO_PROBLEM);
  } catch (error) {
    tell("Your answers are kept in this browser and will be sent when the server answers again.");
    setTimeout(send, RETRY_MS);
  } finally {
    sending = false;
    if (current === null && started) showEnd();
  }
}

function download() {
  const content = JSON.stringify({ study: data.study, answers: Object.values(state.answers) }, null, 1);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type: "application/json" }));
  link.download = `answers-${state.rater}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// ---- showing --------------------------------------------------------------------------------------------------------

let started = false;
let current = null; // {trial, videos: [left, right], watched: [bool, bool], open, since, replays}
let ahead = null; // the next pair, loading

function tell(text) {
  byId("problem").textContent = text;
  byId("problem").hidden = text === NO_PROBLEM;
}

const isDone = (trial) => trial.id in state.answers || Boolean(state.sent[trial.id]);

function showProgress() {
  const done = trials.filter(isDone).length;
  byId("bar").setAttribute("aria-valuemax", trials.length);
  byId("bar").setAttribute("aria-valuenow", done);
  byId("bar").firstElementChild.style.width = `${(100 * done) / trials.length}%`;
  byId("count").textContent = `${Math.min(done + 1, trials.length)} of ${trials.length}`;
}

function prepare(trial) {
  const videos = [trial.left, trial.right].map((id, side) => {
    const video = document.createElement("video");
    video.muted = true;
    video.playsInline = true;
    video.disableRemotePlayback = true;
    video.preload = "auto";
    video.setAttribute("aria-label", side ? "Right video" : "Left video");
    video.src = `clips/${id}.mp4`;
    video.load();
    return video;
  });
  return { trial, videos, watched: [false, false], open: false, since: 0, replays: 0 };
}

const ready = (video) =>
  new Promise((resolve) => {
    if (video.readyState >= HTMLMediaElement.HAVE_ENOUGH_DATA) resolve();
    for (const event of ["canplaythrough", "error"]) video.addEventListener(event, resolve, { once: true });
    setTimeout(resolve, PATIENCE_MS);
  });

async function play(pair) {
  for (const video of pair.videos) {
    video.pause();
    video.currentTime = 0;
  }
  try {
    await Promise.all(pair.videos.map((video) => video.play()));
  } catch (error) {
    if (pair === current && error.name === "NotAllowedError") byId("hint").textContent = "Press R or Replay to play.";
  }
}

function onEnded(pair, side) {
  pair.watched[side] = true;
  if (pair !== current || !pair.videos.every((video) => video.ended)) return;
  if (!pair.open) {
    pair.open = true;
    byId("pair").classList.add("open");
    byId("choose-left").disabled = byId("choose-right").disabled = false;
    byId("hint").textContent = "";
  }
  play(pair);
}

async function showNext() {
  const trial = trials.find((one) => !isDone(one));
  showProgress();
  if (trial === undefined) {
    current = null;
    showEnd();
    return;
  }
  const pair = ahead !== null && ahead.trial === trial ? ahead : prepare(trial);
  current = pair;
  byId("pair").classList.remove("open");
  byId("choose-left").disabled = byId("choose-right").disabled = true;
  byId("hint").textContent = "Watch both videos once.";
  pair.videos.forEach((video, side) => {
    video.addEventListener("ended", () => onEnded(pair, side));
    video.addEventListener("click", () => choose(side));
    video.addEventListener("error", () => {
      if (pair === current) tell("A video does not play. Check the connection and reload, or use another browser.");
    });
    const fit = () => { // small clips are enlarged, but not until they blur
      const width = Math.max(video.videoWidth, Math.min(4 * video.videoWidth, 640));
      video.style.maxWidth = `min(${width}px, ${(66 * video.videoWidth) / video.videoHeight}vh)`;
    };
    if (video.videoWidth) fit();
    else video.addEventListener("loadedmetadata", fit);
    if (video.error) tell("A video does not play. Check the connection and reload, or use another browser.");
  });
  byId("pair").replaceChildren(...pair.videos);
  const next = trials.find((one) => one !== trial && !isDone(one));
  await Promise.all(pair.videos.map(ready));
  if (pair !== current) return;
  pair.since = performance.now();
  play(pair);
  ahead = next === undefined ? null : prepare(next);
}

function choose(side) {
  const pair = current;
  if (pair === null || !pair.open) return;
  pair.open = false;
  pair.videos[side].classList.add("chosen");
  const { id, left, right } = pair.trial;
  const seconds = Math.min(86400, Math.round((performance.now() - pair.since) / 100) / 10);
  const choice = side ? "right" : "left";
  state.answers[id] = { study: data.study, rater: state.rater, trial: id, left, right, choice, seconds };
  store();
  send();
  setTimeout(() => {
    for (const video of pair.videos) {
      video.pause();
      video.removeAttribute("src"); // gives its connection and memory back
      video.load();
    }
    showNext();
  }, 150);
}

function showEnd() {
  byId("trial").hidden = true;
  byId("end").hidden = false;
  byId("count").textContent = `${trials.length} of ${trials.length}`;
  const waiting = unsent().length;
  const saved = collecting && waiting === 0;
  byId("saved").textContent = saved
    ? "All answers are saved. You may close this page."
    : collecting
      ? "Not all answers are sent yet. Leave this page open, or download them and send the file to us."
      : "Please download your answers and send the file to the person who asked you.";
  byId("download").hidden = saved;
}

function start() {
  if (started) return;
  started = true;
  byId("intro").hidden = true;
  byId("trial").hidden = false;
  byId("question").focus();
  showNext();
}

function replay() {
  if (current === null) return;
  play(current);
}

byId("start").addEventListener("click", start);
byId("replay").addEventListener("click", replay);
byId("choose-left").addEventListener("click", () => choose(0));
byId("choose-right").addEventListener("click", () => choose(1));
byId("download").addEventListener("click", download);
document.addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
  const action = {
    ArrowLeft: () => choose(0),
    1: () => choose(0),
    ArrowRight: () => choose(1),
    2: () => choose(1),
    r: replay,
    R: replay,
  }[event.key];
  if (action === undefined || !started) return;
  event.preventDefault();
  action();
});
// Browsers pause muted videos of a hidden page.
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && current !== null) play(current);
});

async function begin() {
  byId("total").textContent = trials.length;
  await findServer();
  send();
  const done = trials.filter(isDone).length;
  if (done > 0) byId("start").textContent = "Continue";
  showProgress();
  byId("start").disabled = false;
}

byId("start").disabled = true;
begin();
