// The page: one monitor, one screen, panels.

import { Consoles } from "./consoles.js";
import { Discs } from "./discs.js";
import { $, does, el, say } from "./dom.js";
import { Keys } from "./keys.js";
import { Move } from "./move.js";
import { Screen } from "./screen.js";
import { Timeline } from "./timeline.js";
import { address, Monitor } from "./wire.js";

const monitor = new Monitor();
const panels = [];

// --- panels as tabs: arrow keys go from one to the next ---------------------------------------

function panel(id, title, shown = () => {}) {
  const body = el("div", { id, role: "tabpanel", "aria-labelledby": `tab-${id}`, hidden: true });
  const tab = el("button", { id: `tab-${id}`, type: "button", role: "tab", "aria-controls": id,
    onclick: () => show(id) }, title);
  panels.push({ id, body, tab, shown });
  $("tabs").append(tab);
  $("panels").append(body);
  return body;
}

function show(id) {
  for (const one of panels) {
    const chosen = one.id === id;
    one.body.hidden = !chosen;
    one.tab.setAttribute("aria-selected", String(chosen));
    one.tab.tabIndex = chosen ? 0 : -1;
    if (chosen) one.shown();
  }
}

$("tabs").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const at = panels.findIndex((one) => one.tab === document.activeElement);
  const next = panels[(at + step + panels.length) % panels.length];
  show(next.id);
  next.tab.focus();
});

// --- the machine --------------------------------------------------------------------------------

function state(word) {
  $("state").textContent = word;
  $("state").dataset.state = word;
  $("pause").textContent = word === "running" ? "Pause" : "Go on";
}

async function look() {
  const status = await monitor.quietly("query-status");
  if (status) state(status.status);
  const mice = await monitor.quietly("query-mice");
  if (status && !$("past").hidden && timeline.begun && status.running) timeline.refreshLine();
  if (mice) screen.setAbsolute(mice.some((one) => one.current && one.absolute));
}

const timeline = new Timeline(panel("past", "Timeline", () => timeline.shown()), monitor);
const consolesPanel = panel("consoles", "Consoles", () => consoles?.shown());
const discs = new Discs(panel("discs", "Discs", () => discs.shown()), monitor);
const move = new Move(panel("move", "Move", () => move.shown()), monitor);
let consoles = null;
const screen = new Screen(monitor);
const keys = new Keys(monitor, { type: (n, text) => consoles?.type(n, text) });

async function begin() {
  const reply = await fetch(address("/machine"));
  if (!reply.ok) throw new Error(await reply.text());
  const { serials, viewOnly } = await reply.json();
  consoles = new Consoles(consolesPanel, serials);
  keys.places(serials.length);
  if (viewOnly) {
    watchOnly();
    return;
  }
  show("past");
  monitor.addEventListener("ready", () => greet().catch((fault) => say(fault.message)));
  monitor.connect();
}

async function greet() {
  const name = (await monitor.quietly("query-name"))?.name;
  $("name").textContent = document.title = name || "gossamer";
  await look();
  document.body.dataset.ready = "yes";
  for (const one of panels) if (!one.body.hidden) one.shown();
}

// A page of view-only=on has neither monitor nor keys.
function watchOnly() {
  for (const id of ["tools", "keys", "clip", "tab-past", "tab-discs", "tab-move"]) $(id).hidden = true;
  show("consoles");
  state("view only");
  screen.setAbsolute(true);
  document.body.dataset.ready = "yes";
}

monitor.addEventListener("lost", () => state("lost"));
for (const event of ["STOP", "RESUME", "RESET", "SHUTDOWN", "MIGRATION"]) {
  monitor.addEventListener(event, look);
}
setInterval(() => { if (!document.hidden && monitor.ready) look(); }, 2000);

// What is dropped becomes a snapshot or a disc.
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  const file = event.dataTransfer?.files[0];
  if (!file || !monitor.ready) return;
  const isState = file.name.endsWith(".gossamer");
  show(isState ? "past" : "discs");
  does(() => (isState ? timeline.upload(file) : discs.take(file)))();
});

$("pause").onclick = does(() =>
  monitor.execute($("state").dataset.state === "running" ? "stop" : "cont"));
$("reset").onclick = does(() => monitor.execute("system_reset"));
$("power").onclick = does(() => monitor.execute("system_powerdown"));
begin().catch((fault) => say(fault.message));
