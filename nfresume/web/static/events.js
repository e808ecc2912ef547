"use strict";
// A SharedWorker: one event stream for all pages of a browser that show one account. Its name is the stream's URL.

const ports = new Set();
const SOON = 2000, LATE = 60_000;
let source = null, open = false, wait = SOON;

function send(message) {
  for (const port of ports) port.postMessage(message);
}

function follow() {
  if (source && source.readyState !== EventSource.CLOSED) return;
  source = new EventSource(self.name);
  source.onopen = () => { open = true; wait = SOON; send({ type: "open" }); };
  source.onerror = () => {
    open = false;
    send({ type: "error" });
    if (source?.readyState !== EventSource.CLOSED) return;  // the browser tries again
    setTimeout(() => { if (ports.size) follow(); }, wait);  // after an answer such as 502 it does not
    wait = Math.min(2 * wait, LATE);
  };
  for (const name of ["event", "progress"])
    source.addEventListener(name, event => send({ type: name, id: JSON.parse(event.data).id }));
}

onconnect = event => {
  const port = event.ports[0];
  ports.add(port);
  port.onmessage = () => {  // a page says good-bye
    ports.delete(port);
    if (!ports.size) { source?.close(); source = null; open = false; }
  };
  follow();
  if (open) port.postMessage({ type: "open" });
};
