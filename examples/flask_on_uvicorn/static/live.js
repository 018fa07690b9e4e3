// Shows each event of the stream; the browser connects again by itself when the stream breaks.
const place = document.getElementById("live");
const events = new EventSource(place.dataset.events);
events.addEventListener("tick", (event) => {
  for (const [name, value] of Object.entries(JSON.parse(event.data))) {
    document.getElementById(name).textContent = value;
  }
});
