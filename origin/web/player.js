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

/** Points `audio` at a recording. `onFailure` gets the problem, or null when none was found. */
export function load(audio, id, onFailure) {
  audio.onerror = async () => {
    try {
      await probeAudio(id);
      onFailure(null);
    } catch (problem) {
      onFailure(problem);
    }
  };
  audio.src = audioPath(id);
}

/** Plays `audio`; false when the browser wants a gesture of the reader first. */
export async function play(audio) {
  // A source that failed before stays failed until it is loaded anew.
  if (audio.error) audio.load();
  try {
    await audio.play();
    return true;
  } catch (error) {
    return error.name !== "NotAllowedError";
  }
}

/** Silences `audio` and lets go of its recording. */
export function unload(audio) {
  audio.onerror = null;
  audio.pause();
  audio.removeAttribute("src");
  audio.load();
}
