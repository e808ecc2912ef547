"use strict";
// Live parts of a page, the tail of a log, times, and plots. Everything else works without JavaScript.

// -- live parts: the page is fetched again, and only what differs is changed ------------------------

function keyOf(node) {  // `node.id` of a form is its field of the name id
  return node.nodeType === 1 ? node.getAttribute("id") || node.getAttribute("data-key") || "" : "";
}

function sameKind(a, b) {
  return a.nodeType === b.nodeType && a.nodeName === b.nodeName && keyOf(a) === keyOf(b);
}

// Makes `old` like `next`. What the user has opened, chosen, typed or scrolled stays.
function morph(old, next) {
  if (old.nodeType !== 1) { if (old.data !== next.data) old.data = next.data; return; }
  const attributes = new Set([...old.getAttributeNames(), ...next.getAttributeNames()]);
  let changed = false;
  for (const name of attributes) {
    if (name === "open" && old.nodeName === "DETAILS") continue;
    const value = next.getAttribute(name);
    if (old.getAttribute(name) === value) continue;
    changed = true;
    if (value === null) old.removeAttribute(name); else old.setAttribute(name, value);
  }
  if (old.hasAttribute("data-keep")) {
    if (changed && !old.hasAttribute("data-tail")) old.textContent = next.textContent;
    return;
  }
  morphChildren(old, next);
}

function morphChildren(old, next) {
  const keyed = new Map();
  for (const child of old.children) if (keyOf(child)) keyed.set(keyOf(child), child);
  let at = old.firstChild;
  for (const wanted of [...next.childNodes]) {
    let found = keyOf(wanted) ? keyed.get(keyOf(wanted)) : at;
    if (found && !sameKind(found, wanted)) found = null;
    keyed.delete(keyOf(wanted));  // two parts may have one key
    if (found && found === at) { at = at.nextSibling; morph(found, wanted); }
    else if (found) { old.insertBefore(found, at); morph(found, wanted); }
    else old.insertBefore(document.importNode(wanted, true), at);
  }
  while (at) { const after = at.nextSibling; at.remove(); at = after; }
}

const body = document.body;
let refreshing = false, again = false;
async function refresh() {
  if (refreshing) { again = true; return; }
  refreshing = true;
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (answer.redirected && new URL(answer.url).pathname === "/login") {
      if (!document.querySelector("form[data-again]")) location.reload();  // nothing is typed there
      return;
    }
    if (!answer.ok) { again = answer.headers.has("Refresh"); return; }
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const before = document.getElementById("state")?.textContent;
    for (const old of document.querySelectorAll("[data-live]")) {
      const next = fresh.getElementById(old.id);
      if (next) morph(old, next);
    }
    if (fresh.body.dataset.ended) body.dataset.ended = fresh.body.dataset.ended;
    document.title = fresh.title;
    localTimes();
    const after = document.getElementById("state")?.textContent, say = document.getElementById("announce");
    if (say && after !== before) say.textContent = `${body.dataset.execution} is ${after}`;
  } catch { /* the next event tries again */ } finally {
    setTimeout(() => { refreshing = false; if (again) { again = false; refresh(); } }, 700);
  }
}

// What counts the time of a run is a minute old at most, also while nothing happens.
setInterval(() => {
  if (body.dataset.ended === "no" && !document.hidden) refresh();
}, 60_000);

// A page that is not shown fetches nothing; it is refreshed when it is shown again.
let stale = false, first = true;
function changed() {
  if (document.hidden) stale = true; else refresh();
}
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && stale) { stale = false; refresh(); tail(); }
});

// A stream that comes back soon, as after each page that is left, is not worth a word.
let silent = 0;
function heard(message) {
  if (message.type === "error") silent ||= setTimeout(() => body.classList.add("offline"), 5000);
  else { clearTimeout(silent); silent = 0; body.classList.remove("offline"); }
  if (message.type === "open") { if (!first) changed(); first = false; }
  else if (message.type !== "error" && [undefined, message.id].includes(body.dataset.execution)) changed();
}

// A browser has six connections per host: all pages share one stream. Without SharedWorker each page that
// is shown has one.
function follow() {
  if (window.SharedWorker) {
    const port = new SharedWorker("/static/events.js", { name: body.dataset.events }).port;
    port.onmessage = event => heard(event.data);
    addEventListener("pagehide", () => port.postMessage("bye"), { once: true });
    return;
  }
  const source = new EventSource(body.dataset.events), over = new AbortController(), signal = over.signal;
  const again = () => { if (!signal.aborted) { over.abort(); follow(); } };
  source.addEventListener("open", () => heard({ type: "open" }));
  source.addEventListener("error", () => {
    heard({ type: "error" });  // after an answer such as 502 a browser does not try again
    if (source.readyState === EventSource.CLOSED) setTimeout(() => { if (!document.hidden) again(); }, 10_000);
  });
  for (const name of ["event", "progress"])
    source.addEventListener(name, event => heard({ type: name, id: JSON.parse(event.data).id }));
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { stale = true; source.close(); }
    else if (source.readyState === EventSource.CLOSED) again();
  }, { signal });
  addEventListener("pagehide", () => source.close(), { once: true, signal });
}
if (body.dataset.events && document.querySelector("[data-live]")) {
  follow();
  addEventListener("pageshow", event => { if (event.persisted) { follow(); changed(); } });
}

// -- the tail of a log: until its attempt has ended ------------------------------------------------

const log = document.querySelector("[data-tail]");
const decoder = new TextDecoder();
let offset = log ? Number(log.dataset.offset) : 0;
const visible = text => text.replace(/\x1b\[[0-9;]*m/g, "").replace(/\r+\n?/g, "\n")
  .replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g,
    c => "\\x" + c.charCodeAt(0).toString(16).padStart(2, "0"));
// Whoever has scrolled up, or selects text, keeps what they read: nothing is cut off then, and a long log waits.
const MOST = 2_000_000;
function selects() {
  const chosen = getSelection();
  return !chosen.isCollapsed && log.contains(chosen.anchorNode);
}
const atEnd = () => log.scrollTop + log.clientHeight >= log.scrollHeight - 30 && !selects();
async function tail() {
  if (!log) return;
  try {
    for (;;) {
      if (log.textContent.length > MOST && !atEnd()) return;
      const answer = await fetch(log.dataset.tail + "?offset=" + offset);
      const bytes = answer.ok ? await answer.arrayBuffer() : new ArrayBuffer(0);
      if (!bytes.byteLength) return;
      offset += bytes.byteLength;
      const follows = atEnd();
      log.append(visible(decoder.decode(bytes, { stream: true })));
      if (!follows) continue;
      if (log.textContent.length > MOST) log.textContent = log.textContent.slice(-MOST / 2);
      log.scrollTop = log.scrollHeight;
    }
  } catch { /* the next look tries again */ }
}
async function keepTailing() {
  const ended = body.dataset.ended === "yes";
  if (!document.hidden) await tail();
  if (!ended) setTimeout(keepTailing, 1500);  // once more after the end, and no more
}
if (log) {
  log.scrollTop = log.scrollHeight;
  log.addEventListener("scroll", () => { if (log.textContent.length > MOST && atEnd()) tail(); });
  keepTailing();
  new MutationObserver(() => { if (body.dataset.ended === "no") keepTailing(); })
    .observe(body, { attributeFilter: ["data-ended"] });
}

// -- times ------------------------------------------------------------------------------------------

function left(seconds) {
  if (seconds <= 0) return "now";
  for (const [unit, length, smaller, part] of [["d", 86400, "h", 3600], ["h", 3600, "min", 60], ["min", 60, "s", 1]])
    if (seconds >= length) {
      const rest = Math.floor(seconds % length / part);
      return Math.floor(seconds / length) + " " + unit + (rest ? " " + rest + " " + smaller : "");
    }
  return Math.floor(seconds) + " s";
}
setInterval(() => {
  for (const part of document.querySelectorAll("[data-until]"))
    part.textContent = left((new Date(part.dataset.until) - Date.now()) / 1000);
  for (const part of document.querySelectorAll("[data-since]"))
    part.textContent = left((Date.now() - new Date(part.dataset.since)) / 1000);
}, 1000);

// Times in the reader's zone and words; the title has UTC.
const near = new Intl.DateTimeFormat(undefined, { weekday: "long", hour: "2-digit", minute: "2-digit" });
const far = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
const clocks = {  // along the axis of a timeline
  seconds: new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" }),
  minutes: new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" }),
  day: new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" }),
};
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
function localTimes() {
  for (const part of document.querySelectorAll("time[datetime]")) {
    const at = new Date(part.dateTime);
    const shape = clocks[part.dataset.clock] || (Math.abs(at - Date.now()) < 6 * 86_400_000 ? near : far);
    const text = shape.format(at);
    if (part.textContent !== text) part.textContent = text;
  }
  for (const part of document.querySelectorAll("[data-zone]")) part.textContent = `Times are those of ${zone}.`;
}
localTimes();

// -- forms and plots --------------------------------------------------------------------------------

addEventListener("change", event => {  // choose all on this page
  const name = event.target.dataset?.all;
  if (!name) return;
  for (const box of event.target.form.elements)
    if (box.type === "checkbox" && box.name === name) box.checked = event.target.checked;
});

// A timeline is zoomed by drawing over it with the mouse; without JavaScript its links do that.
let drawn = null;
addEventListener("pointerdown", event => {
  const cell = event.target.closest?.(".gantt td");
  drawn = cell && event.button === 0 ? { cell, x: event.clientX } : null;
});
addEventListener("dragstart", event => { if (event.target.closest?.(".gantt")) event.preventDefault(); });
addEventListener("pointerup", event => {
  if (!drawn || Math.abs(event.clientX - drawn.x) < 12) return;
  const { start, end } = drawn.cell.closest(".gantt").dataset, box = drawn.cell.getBoundingClientRect();
  const at = x => Math.round(Number(start) + (Number(end) - Number(start)) * Math.min(1, Math.max(0, (x - box.left) / box.width)));
  const query = new URLSearchParams(location.search);
  query.set("start", at(Math.min(event.clientX, drawn.x)));
  query.set("end", at(Math.max(event.clientX, drawn.x)));
  addEventListener("click", click => click.preventDefault(), { capture: true, once: true });
  location.search = query;
});

// A second click while the first one is on its way would launch, or relaunch, twice.
let sent = null;
addEventListener("submit", event => {
  const question = event.submitter?.dataset.confirm, form = event.target;
  if (form === sent || (question && !confirm(question))) return event.preventDefault();
  if (form.method !== "post") return;
  keep(form);
  sent = form;
  setTimeout(() => { sent = null; }, 10_000);  // if no page comes
});
addEventListener("pageshow", () => { sent = null; });

// What was typed is kept in this tab until it has arrived: the session may have ended, or a file be too large.
// Then a page that refuses comes, and behind it an empty form, which offers to show what was typed once more.
const KEPT = "kept";
function keep(form) {
  if (form.getAttribute("action") === "/logout") sessionStorage.removeItem(KEPT);
  if (!form.dataset.again) return;
  const given = [...new FormData(form)].filter(([name]) => !["csrf", "choose"].includes(name));
  const texts = given.filter(([, value]) => typeof value === "string");
  const files = given.flatMap(([, value]) => value.name ? [value.name] : []);
  const kept = JSON.stringify({ action: form.getAttribute("action"), texts, files });
  try { sessionStorage.setItem(KEPT, kept); } catch { /* it is too long */ }
}

function line(text, ...parts) {
  const made = document.createElement("p");
  made.append(text, ...parts);
  return made;
}

function offerKept() {
  const kept = JSON.parse(sessionStorage.getItem(KEPT)), form = document.querySelector("form[data-again]");
  if (!kept || location.pathname.startsWith("/login")) return;
  if (body.dataset.refused) {
    sessionStorage.setItem(KEPT, JSON.stringify({ ...kept, lost: true }));
    const back = document.createElement("a");
    back.href = kept.action;
    back.textContent = "Back to the form";
    document.querySelector("#main .narrow").append(line("What you typed is kept in this tab. ", back));
  } else if (!kept.lost) sessionStorage.removeItem(KEPT);
  else if (form?.getAttribute("action") === kept.action) form.before(formAgain(form, kept));
}

function formAgain(form, { texts, files }) {
  const made = form.cloneNode(false), button = document.createElement("button");
  for (const [name, value] of [["csrf", form.querySelector("[name=csrf]").value], ...texts])
    made.append(Object.assign(document.createElement("input"), { type: "hidden", name, value }));
  Object.assign(button, { name: form.dataset.again, value: "yes", textContent: "Show what was typed" });
  made.className = "notice";
  made.removeAttribute("id");
  made.append(line("What was typed here before did not arrive. ", button),
              files.length ? line("Choose again: " + files.join(", ")) : "");
  return made;
}
offerKept();

addEventListener("DOMContentLoaded", () => {
  const figures = document.getElementById("figures");
  if (!figures || !window.Plotly) return;
  const colour = getComputedStyle(document.body).color;
  for (const [name, figure] of Object.entries(JSON.parse(figures.dataset.figures))) {
    if (!document.getElementById(name)) continue;
    figure.layout.font = { color: colour };
    Plotly.newPlot(name, figure.data, figure.layout, { displayModeBar: false, responsive: true });
  }
});
