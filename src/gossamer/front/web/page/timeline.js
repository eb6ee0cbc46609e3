// The machine's past: snapshots as a tree with pictures, a slider along checkpoints.

import { $, ask, bytes, does, el, prompt, say } from "./dom.js";
import { address, upload } from "./wire.js";

const when = (ms) => new Date(ms).toLocaleString([], { dateStyle: "medium", timeStyle: "medium" });
const clock = (ms) => `${(ms / 1000).toFixed(1)} s of its time`;

async function got(path, given) {
  const reply = await fetch(address(path, given));
  if (!reply.ok) throw new Error((await reply.text()).trim() || reply.statusText);
  return reply;
}

export class Timeline {
  constructor(panel, monitor) {
    this.monitor = monitor;
    this.pictures = new Map();
    this.compared = "";
    this.tree = el("div", { id: "tree" });
    this.line = el("div", { id: "line", className: "card" });
    const file = el("input", { type: "file", hidden: true, ariaLabel: "State to upload",
      onchange: () => { if (file.files[0]) does(() => this.upload(file.files[0]))(); file.value = ""; } });
    panel.append(
      el("div", { className: "row small" },
        el("a", { href: address("/state"), download: "", role: "button", id: "download" },
          "Download the state"),
        el("button", { type: "button", id: "upload", onclick: () => file.click() }, "Upload a state…"),
        file),
      this.line, this.tree);
    $("snapshot").onclick = does(() => this.take());
    monitor.addEventListener("X_SNAPSHOT", () => this.refresh());
  }

  async shown() {
    if (!this.monitor.ready) return;
    await Promise.all([this.refresh(), this.refreshLine()]);
  }

  // --- snapshots --------------------------------------------------------------------------------

  async refresh() {
    try {
      const { here, snapshots } = await (await got("/past")).json();
      this.draw(here, snapshots);
    } catch (fault) {
      say(fault.message);
    }
  }

  draw(here, snapshots) {
    const held = document.activeElement?.id;
    const below = (parent) => snapshots.filter((one) => one.parent === parent)
      .sort((a, b) => a.date - b.date);
    const list = (parent) => {
      const all = below(parent);
      return all.length
        ? el("ul", { className: parent ? "" : "tree" }, ...all.map((one) =>
          el("li", {}, this.card(one, one.key === here, snapshots), list(one.key))))
        : null;
    };
    this.tree.replaceChildren(list(null)
      ?? el("p", { className: "soft" }, "No snapshot yet: “Take snapshot” makes one."));
    if (held) document.getElementById(held)?.focus();
  }

  card(one, here, all) {
    const image = el("img", { alt: `What ${one.tag} shows`, loading: "lazy" });
    this.picture(one, image);
    const others = all.filter((other) => other.tag !== one.tag);
    return el("div", { className: `card shot${here ? " here" : ""}`, "data-tag": one.tag },
      el("button", { type: "button", id: `back-${one.tag}`, title: `Go back to ${one.tag}`,
        onclick: does(() => this.back(one)) }, image),
      el("div", {}, el("b", {}, one.tag), here ? " (here)" : ""),
      el("div", { className: "soft" }, `${when(one.date)}, ${clock(one.clock)}, ${bytes(one.bytes)}`),
      el("div", { className: "row small" },
        others.length ? el("button", { type: "button", onclick: does(() => this.compare(one, others)) },
          "Compare…") : null,
        one.file ? el("a", { href: address("/state", { tag: one.tag }), download: "" }, "Download") : null,
        el("button", { type: "button", onclick: does(() => this.fork(one)) }, "Fork"),
        el("button", { type: "button", onclick: does(() => this.forget(one)) }, "Delete")));
  }

  async picture(one, image) {
    if (!this.pictures.has(one.key)) {
      this.pictures.set(one.key, got("/picture", { tag: one.tag })
        .then((reply) => reply.blob()).then((blob) => URL.createObjectURL(blob)));
    }
    try {
      image.src = await this.pictures.get(one.key);
    } catch (fault) {
      this.pictures.delete(one.key);
      image.alt = `no picture: ${fault.message}`;
    }
  }

  async take() {
    const tag = await prompt("Take a snapshot", "Its name", `at ${Date.now() % 1e6}`.replace(" ", "-"));
    if (!tag) return;
    await this.monitor.execute("x-savevm", { tag });
    say(`${tag} is saved`);
  }

  async back(one) {
    await this.monitor.execute("x-loadvm", { tag: one.tag });
    say(`back at ${one.tag}; the next snapshot begins a branch there`);
  }

  async fork(one) {
    say(`${one.tag} is started as a machine of its own…`);
    const { address: there } = await (await got("/fork", { tag: one.tag })).json();
    say("");
    const link = el("a", { href: there, target: "_blank", rel: "noopener", id: "forked" },
      "Open its page");
    await ask(`A fork of ${one.tag}`, [el("p", {}, link),
      el("p", { className: "soft" }, "It ends when this machine's process does.")], [["Done", "ok"]]);
  }

  async forget(one) {
    if (await ask(`Delete ${one.tag}?`, [el("p", {}, "It cannot be had back.")],
      [["Delete", "yes"]])) {
      await this.monitor.execute("x-delvm", { tag: one.tag });
    }
  }

  async compare(one, others) {
    const choice = el("select", { ariaLabel: "with" },
      ...others.map(({ tag }) => el("option", { value: tag }, tag)));
    if (!await ask(`Compare ${one.tag}`, [el("label", {}, "with ", choice)])) return;
    say("comparing…");
    const text = await (await got("/difference", { tag: one.tag, other: choice.value })).text();
    say("");
    await ask(`${one.tag} and ${choice.value}`,
      [el("pre", { tabIndex: 0, id: "difference" }, text || "They are the same.")]);
  }

  async upload(file) {
    const name = await upload(file, { name: file.name.replace(/\.gossamer$/, "") }, say);
    say(`${name} is there`);
    await this.refresh();
  }

  // --- the line of time -------------------------------------------------------------------------

  async refreshLine() {
    let past = null;
    let why = "";
    try {
      past = await this.monitor.execute("x-query-timeline");
    } catch (fault) {
      why = fault.message;
    }
    if (this.begun !== Boolean(past)) this.begun = past ? this.build() : this.offer(why);
    if (past) this.update(past);
  }

  offer(why) {
    this.line.replaceChildren(el("h2", {}, "Line of time"), el("p", { className: "soft" }, why),
      el("button", { type: "button", id: "keep", onclick: does(async () => {
        await this.monitor.execute("x-timeline", { enable: true });
        await this.refreshLine();
      }) }, "Keep the past from now on"));
    return false;
  }

  build() {
    this.slider = el("input", { type: "range", id: "slider", min: 0, ariaLabel: "Place in the past",
      onchange: does(() => this.seek(Number(this.slider.value))),
      oninput: () => { this.sliding = true; this.place.textContent = this.words(Number(this.slider.value)); } });
    this.place = el("p", { className: "soft", id: "place", ariaLive: "polite" });
    this.marks = el("div", { className: "row small" });
    this.line.replaceChildren(el("h2", {}, "Line of time"), this.slider, this.place,
      el("div", { className: "row small" },
        ...[["−10 s", 10e9], ["−1 s", 1e9], ["−10 ms", 1e7]].map(([text, ns]) =>
          el("button", { type: "button", onclick: does(() => this.rewind(ns)) }, text)),
        el("button", { type: "button", onclick: does(async () => {
          const label = await prompt("Mark this moment", "Its name");
          if (label) { await this.monitor.execute("x-mark", { label }); await this.refreshLine(); }
        }) }, "Mark…"),
        el("button", { type: "button", onclick: does(async () => {
          await this.monitor.execute("x-timeline", { enable: false });
          await this.refreshLine();
        }) }, "Forget it")),
      this.marks);
    return true;
  }

  words(icount) {
    const { first, last } = this;
    const part = last > first ? Math.round(100 * (icount - first) / (last - first)) : 100;
    return `${icount.toLocaleString()} instructions since power-on (${part} % of the line)`;
  }

  update(past) {
    const counts = past.moments.map((one) => one.icount);
    this.first = Math.min(...counts);
    this.last = Math.max(...counts, past.now.icount);
    if (!this.sliding) {
      Object.assign(this.slider, { min: this.first, max: this.last });
      this.slider.value = past.now.icount;
      this.place.textContent =
        `${this.words(past.now.icount)}; ${past.checkpoints} checkpoints, ${bytes(past.size)}`;
    }
    this.marks.replaceChildren(...past.moments.filter((one) => one.label).map((one) =>
      el("button", { type: "button", onclick: does(() => this.seek(one.icount)) }, one.label)));
  }

  async seek(icount) {
    this.sliding = false;
    await this.monitor.quietly("stop");
    await this.monitor.execute("replay-seek", { icount });
    await this.refreshLine();
  }

  async rewind(ns) {
    await this.monitor.execute("x-rewind", { ns });
    await this.refreshLine();
  }
}
