// The machine moves to another process or host while it runs.

import { bytes, does, el, remember, remembered } from "./dom.js";

const LIVE = ["setup", "active", "device", "cancelling", "pre-switchover", "wait-unplug"];

export class Move {
  constructor(panel, monitor) {
    this.monitor = monitor;
    this.uri = el("input", { id: "uri", value: remembered("uri", "tcp:127.0.0.1:4444"),
      autocomplete: "off", spellcheck: false });
    this.go = el("button", { type: "submit", className: "main", id: "go" }, "Move");
    this.cancel = el("button", { type: "button", disabled: true,
      onclick: does(() => monitor.execute("migrate_cancel")) }, "Cancel");
    this.bar = el("progress", { max: 1, value: 0, ariaLabel: "How far the move is" });
    this.facts = el("table", { id: "facts" });
    this.status = el("p", { role: "status", id: "moved" });
    const form = el("form", { onsubmit: (event) => { event.preventDefault(); does(() => this.begin())(); } },
      el("label", {}, "Move to ", this.uri),
      el("p", { className: "soft" },
        "tcp:HOST:PORT or unix:PATH, where gossamer (or QEMU) was started with the same machine and -incoming."),
      el("div", { className: "row" }, this.go, this.cancel));
    panel.append(form, this.status, this.bar, this.facts);
    this.bar.hidden = true;
    monitor.addEventListener("MIGRATION", () => this.look());
  }

  shown() { return this.look(); }

  async begin() {
    remember("uri", this.uri.value);
    this.status.textContent = "";
    await this.monitor.execute("migrate", { uri: this.uri.value.trim() });
    await this.look();
  }

  async look() {
    clearTimeout(this.again);
    if (!this.monitor.ready) return;
    const found = await this.monitor.quietly("query-migrate");
    if (!found?.status || found.status === "none") return;
    const live = LIVE.includes(found.status);
    this.cancel.disabled = !live;
    this.go.disabled = live;
    this.bar.hidden = false;
    const { ram } = found;
    if (ram?.total) this.bar.value = found.status === "completed" ? 1 : 1 - ram.remaining / ram.total;
    const rows = [["status", found.status]];
    if (ram) {
      rows.push(["sent", bytes(ram.transferred)], ["remaining", bytes(ram.remaining)],
        ["rounds", ram["dirty-sync-count"]], ["rate", `${Math.round(ram.mbps ?? 0)} Mbit/s`]);
    }
    if (found["expected-downtime"] !== undefined && live) {
      rows.push(["expected downtime", `${found["expected-downtime"]} ms`]);
    }
    if (found.downtime !== undefined) rows.push(["downtime", `${found.downtime} ms`]);
    if (found["total-time"] !== undefined) rows.push(["all of it", `${found["total-time"]} ms`]);
    for (const text of found["expected-losses"] ?? []) rows.push(["the receiver loses", text]);
    this.facts.replaceChildren(...rows.map(([name, value]) =>
      el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, String(value)))));
    if (found["error-desc"]) this.status.textContent = found["error-desc"];
    else if (found.status === "completed") {
      this.status.textContent = `The machine goes on at ${this.uri.value}; it stood still for ${found.downtime} ms.`;
    } else this.status.textContent = "";
    if (live) this.again = setTimeout(() => this.look(), 200);
  }
}
