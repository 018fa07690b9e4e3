// Keeps the page up to date. Without this script it shows how things were when it was loaded, and all of it works.
const { page, events, readings } = document.body.dataset;
const POLL = 10_000; // milliseconds
const live = document.getElementById("live");
let newest = Number(document.body.dataset.newest);
let refreshing = 0;

function say(text, on) {
  live.hidden = false;
  live.classList.toggle("on", on);
  if (live.textContent !== text) live.textContent = text; // or a screen reader would repeat it
}

function refreshIn(milliseconds) { // once for everything that comes at the same time
  clearTimeout(refreshing);
  refreshing = setTimeout(refresh, milliseconds);
}

// The server writes the page anyway, so what changes is taken from a fresh one.
async function refresh() {
  const answer = await fetch(page);
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const id of ["places", "chart", "warnings", "readings"]) {
    const old = document.getElementById(id);
    if (!old.contains(document.activeElement)) old.replaceWith(fresh.getElementById(id)); // leaves the focus alone
  }
  newest = Math.max(newest, Number(fresh.body.dataset.newest));
  if (document.querySelector("#warnings [data-state=pending]")) refreshIn(2000);
}

if (events) {
  const source = new EventSource(events); // which connects again by itself
  source.addEventListener("open", () => say("Live", true));
  source.addEventListener("error", () => say("Connecting again …", false));
  // Something may have come between the page and the stream.
  source.addEventListener("hello", (event) => { if (JSON.parse(event.data).newest > newest) refreshIn(0); });
  source.addEventListener("reading", () => refreshIn(300));
} else {
  say("Looks for news every 10 seconds", true);
  setInterval(async () => {
    try {
      const answer = await fetch(`${readings}?limit=1&after=${newest}`);
      if ((await answer.json()).length) refreshIn(0);
      say("Looks for news every 10 seconds", true);
    } catch {
      say("The server does not answer", false);
    }
  }, POLL);
}
