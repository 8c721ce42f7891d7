// Audio elements: one at a time, with a reason when a recording does not play.

import { audioPath, probeAudio } from "./api.js";

/** Keeps at most one audio element of the page playing, and lets the style know of it. */
export function startPlayer() {
  const players = () => [...document.querySelectorAll("audio")];
  const showPlaying = () => {
    document.documentElement.classList.toggle("playing", players().some((audio) => !audio.paused));
  };
  // Media events do not bubble, so they are caught on the way down.
  document.addEventListener("play", (event) => {
    for (const audio of players()) if (audio !== event.target) audio.pause();
    showPlaying();
  }, true);
  document.addEventListener("pause", showPlaying, true);
  document.addEventListener("emptied", showPlaying, true);
}

/**
 * Points `audio` at a recording. An element does not say why it failed, so the recording
 * is then asked for by hand: that waits out a rate limit, after which the element gets a
 * second chance. `onFailure` gets the problem, or null when none can be named.
 */
export function load(audio, id, onFailure) {
  const path = audioPath(id);
  let secondChance = true;
  audio.onerror = async () => {
    try {
      await probeAudio(id);
    } catch (problem) {
      onFailure(problem);
      return;
    }
    if (audio.getAttribute("src") !== path) return;
    if (!secondChance) {
      onFailure(null);
      return;
    }
    secondChance = false;
    await play(audio);
  };
  audio.src = path;
}

/** Plays `audio`; false when it stays silent, as when the browser wants a gesture of the reader first. */
export async function play(audio) {
  // A source that failed before stays failed until it is loaded anew.
  if (audio.error) audio.load();
  try {
    await audio.play();
    return true;
  } catch {
    return false;
  }
}

/** Silences `audio` and lets go of its recording. */
export function unload(audio) {
  audio.onerror = null;
  audio.pause();
  audio.removeAttribute("src");
  audio.load();
}
