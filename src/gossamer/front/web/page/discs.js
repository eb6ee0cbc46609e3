// Drives: what is in them, and another disc from a list.

import { bytes, does, el, prompt, say } from "./dom.js";
import { address, upload } from "./wire.js";

export class Discs {
  constructor(panel, monitor) {
    this.panel = panel;
    this.monitor = monitor;
    for (const event of ["DEVICE_TRAY_MOVED", "RESET"]) {
      monitor.addEventListener(event, () => { if (!panel.hidden) this.shown(); });
    }
  }

  async shown() {
    if (!this.monitor.ready) return;
    const drives = await this.monitor.quietly("query-block") ?? [];
    const reply = await fetch(address("/discs"));
    this.known = reply.ok ? await reply.json() : { discs: [], folder: null };
    this.panel.replaceChildren(...drives.map((drive) => this.card(drive)),
      drives.length ? "" : el("p", { className: "soft" }, "The machine has no drive."),
      el("p", { className: "soft" }, this.known.folder
        ? `Discs are those in ${this.known.folder}.`
        : "-web …,files=FOLDER lists the discs of a folder here."));
  }

  // A file that was dropped on the page: it goes into the folder, and into the first CD drive.
  async take(file) {
    const name = await upload(file, { name: file.name, kind: "disc" }, say);
    await this.shown();
    const disc = this.known.discs.find((one) => one.name === name);
    const drive = (await this.monitor.execute("query-block")).find((one) => one.removable);
    if (disc && drive) {
      const which = drive.device ? { device: drive.device } : { id: drive.qdev };
      await this.monitor.execute("blockdev-change-medium", { ...which, filename: disc.path });
      await this.shown();
    }
    say(`${name} is ${drive ? "in the drive" : "among the discs"}`);
  }

  card(drive) {
    const file = drive.inserted?.image?.filename ?? drive.inserted?.file;
    const size = drive.inserted?.image?.["virtual-size"];
    const inside = file ? `${file} (${bytes(size ?? 0)})` : "empty";
    const rows = [el("b", {}, drive.device || drive.qdev), el("div", { className: "soft" },
      drive["tray_open"] ? "the tray is open" : inside)];
    if (drive.removable) rows.push(this.choice(drive));
    return el("div", { className: "card", "data-drive": drive.device }, ...rows);
  }

  choice(drive) {
    const which = drive.device ? { device: drive.device } : { id: drive.qdev };
    const list = el("select", { ariaLabel: `Disc for ${drive.device}` },
      ...this.known.discs.map((one) => el("option", { value: one.path }, `${one.name} (${bytes(one.bytes)})`)),
      el("option", { value: "" }, "a file of the host…"));
    const insert = async () => {
      const filename = list.value || await prompt("A file of the host", "Its path");
      if (!filename) return;
      await this.monitor.execute("blockdev-change-medium", { ...which, filename });
      await this.shown();
    };
    return el("div", { className: "row small" }, list,
      el("button", { type: "button", onclick: does(insert) }, "Insert"),
      el("button", { type: "button", onclick: does(async () => {
        await this.monitor.execute("eject", which);
        await this.shown();
      }) }, "Eject"));
  }
}
