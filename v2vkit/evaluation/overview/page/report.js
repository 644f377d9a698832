"use strict";
// Sample grids: the slider shows one of them.
for (const grids of document.querySelectorAll(".grids")) {
  const pictures = [...grids.querySelectorAll("img")];
  const show = () => {
    const chosen = Number(grids.querySelector("input").value);
    pictures.forEach((picture, i) => { picture.hidden = i !== chosen; });
    grids.querySelector("output").textContent = Number(pictures[chosen].dataset.step).toLocaleString("en");
  };
  grids.querySelector("input").addEventListener("input", show);
}

// Videos: the first one is the clock, which the others follow.
const videos = [...document.querySelectorAll("video")];
if (videos.length) {
  const [clock, ...others] = videos;
  const play = document.getElementById("play"), seek = document.getElementById("seek");
  const FRAME = 1 / 25, DRIFT = 0.04; // seconds
  let playing = false;

  const end = () => Math.min(...videos.map((video) => video.duration || 0));
  const shown = () => {
    document.getElementById("time").textContent = `${clock.currentTime.toFixed(2)} s`;
    if (end() > 0) seek.value = clock.currentTime / end();
  };
  const jump = (time) => {
    const at = Math.max(0, Math.min(time, end()));
    for (const video of videos) video.currentTime = at;
    shown();
  };
  const stop = () => {
    playing = false;
    for (const video of videos) video.pause();
    for (const video of others) video.currentTime = clock.currentTime;
    play.textContent = "Play";
  };
  const start = async () => {
    if (clock.currentTime >= end() - DRIFT) jump(0);
    playing = true;
    play.textContent = "Pause";
    await Promise.all(videos.map((video) => video.play()));
    requestAnimationFrame(follow);
  };
  const follow = () => {
    if (!playing) return;
    if (clock.currentTime >= end() - DRIFT / 2 || clock.ended) { stop(); jump(end()); return; }
    for (const video of others) {
      if (Math.abs(video.currentTime - clock.currentTime) > DRIFT) video.currentTime = clock.currentTime;
    }
    shown();
    requestAnimationFrame(follow);
  };
  play.addEventListener("click", () => (playing ? stop() : start()));
  seek.addEventListener("input", () => jump(Number(seek.value) * end()));
  document.getElementById("back").addEventListener("click", () => { stop(); jump(clock.currentTime - FRAME); });
  document.getElementById("forth").addEventListener("click", () => { stop(); jump(clock.currentTime + FRAME); });
  document.getElementById("speed").addEventListener("change", (event) => {
    for (const video of videos) video.playbackRate = Number(event.target.value);
  });
}
