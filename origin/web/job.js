// One generation: asked for, followed to its end, or cancelled.

import * as api from "./api.js";

const pollMs = 1000;

/**
 * Has `speech` made. `onChange` gets the job each time it has come further; `signal` gives up
 * following it. Resolves with the recording, or with null when it was cancelled.
 */
export async function make(speech, onChange, signal) {
  const { job } = await api.generate(speech);
  const ended = await follow(job, onChange, signal);
  if (ended.state === "cancelled") return null;
  if (ended.state === "done") return api.output(ended.id);
  const { code, detail, retry_after: retryAfter } = ended.error ?? {};
  throw new api.Problem({ code: code ?? "unreadable", detail: detail ?? "", retryAfter: retryAfter ?? 0 });
}

function follow(job, onChange, signal) {
  return new Promise((resolve, reject) => {
    const events = new EventSource(job.events_url);
    let timer = 0;
    let isOver = false;
    const stop = () => {
      isOver = true;
      events.close();
      clearTimeout(timer);
    };
    const seen = (now) => {
      if (now.ended_at) {
        stop();
        resolve(now);
      } else if (!isOver) {
        onChange(now);
      }
    };
    // Where no events come through, asking does it, too.
    const ask = async () => {
      try {
        seen(await api.job(job.id));
        if (!isOver) timer = setTimeout(ask, pollMs);
      } catch (problem) {
        stop();
        reject(problem);
      }
    };
    events.addEventListener("job", (event) => seen(JSON.parse(event.data)));
    events.addEventListener("error", () => {
      // A browser connects again by itself, unless it was refused.
      if (events.readyState === EventSource.CLOSED && !isOver) ask();
    });
    signal.addEventListener("abort", () => {
      stop();
      reject(new api.Problem({ code: "dropped" }));
    });
  });
}
