// Serial ports as terminals.

import { FitAddon } from "/vendor/xterm/addon-fit.mjs";
import { Terminal } from "/vendor/xterm/xterm.mjs";
import { el } from "./dom.js";
import { socket } from "./wire.js";

const encoder = new TextEncoder();

class Console {
  constructor(number, panel) {
    this.number = number;
    this.box = el("div", { className: "term", id: `serial${number}` });
    this.status = el("span", { className: "soft" });
    panel.append(el("h2", {}, `Console ${number + 1} `, this.status), this.box);
    this.wait = 250;
  }

  // Terminals measure themselves: they begin when they are seen for the first time.
  begin() {
    if (this.terminal) return;
    this.terminal = new Terminal({ cursorBlink: false, scrollback: 5000, fontSize: 13,
      theme: { background: "#101216" }, screenReaderMode: false });
    this.fit = new FitAddon();
    this.terminal.loadAddon(this.fit);
    this.terminal.open(this.box);
    this.fit.fit();
    new ResizeObserver(() => { if (this.box.offsetWidth) this.fit.fit(); }).observe(this.box);
    this.terminal.onData((text) => this.send(text));
    // Shift+Tab and Ctrl+Alt+M leave the terminal.
    this.terminal.attachCustomKeyEventHandler((event) => !(event.key === "Tab" && event.shiftKey));
    this.connect();
  }

  connect() {
    const peer = this.peer = new WebSocket(socket(`/serial${this.number}`));
    peer.binaryType = "arraybuffer";
    peer.onopen = () => { this.wait = 250; this.status.textContent = ""; this.terminal.reset(); };
    peer.onmessage = (event) => this.terminal.write(new Uint8Array(event.data));
    peer.onclose = () => {
      this.status.textContent = "not connected";
      if (!this.over) setTimeout(() => this.connect(), this.wait);
      this.wait = Math.min(this.wait * 2, 5000);
    };
  }

  send(text) {
    if (this.peer?.readyState === WebSocket.OPEN) this.peer.send(encoder.encode(text));
  }
}

export class Consoles {
  constructor(panel, numbers) {
    this.all = numbers.map((number) => new Console(number, panel));
    if (!numbers.length) panel.append(el("p", { className: "soft" }, "The machine has no serial port."));
  }

  shown() {
    for (const one of this.all) one.begin();
    this.all[0]?.terminal.focus();
  }

  type(index, text) {
    this.all[index]?.begin();
    this.all[index]?.send(text);
  }
}
