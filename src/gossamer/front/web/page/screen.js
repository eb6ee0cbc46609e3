// The screen: noVNC in a box, its size, full screen, the pointer of the ADB mouse.

import RFB from "/vendor/novnc/core/rfb.js";
import { $, remember, remembered, say } from "./dom.js";
import { mapped } from "./keys.js";
import { socket } from "./wire.js";

const NAMES = ["left", "middle", "right"];

export class Screen {
  constructor(monitor) {
    this.monitor = monitor;
    this.box = $("screen");
    this.absolute = false;
    this.moved = { x: 0, y: 0 };
    this.scale = remembered("scale", "fit");
    $("scale").value = this.scale;
    $("scale").onchange = () => {
      this.scale = $("scale").value;
      remember("scale", this.scale);
      this.resize();
    };
    $("full").onclick = () => this.fullScreen();
    new ResizeObserver(() => this.resize()).observe(this.box);
    this.catchPointer();
    window.addEventListener("keydown", (event) => {
      if (event.ctrlKey && event.altKey && event.code === "KeyM") {
        event.preventDefault();
        event.stopPropagation();
        this.leave();
      }
    }, true);
    this.connect();
  }

  connect() {
    this.rfb?.disconnect();
    this.box.replaceChildren();
    const rfb = this.rfb = new RFB(this.box, socket("/vnc"), { shared: true });
    const send = RFB.prototype.sendKey;
    rfb.sendKey = (keysym, code, down) => send.call(rfb, ...mapped(keysym, code), down);
    rfb.addEventListener("connect", () => { this.box.dataset.connected = "yes"; this.resize(); });
    rfb.addEventListener("disconnect", () => {
      delete this.box.dataset.connected;
      if (this.rfb === rfb && !this.over) setTimeout(() => this.connect(), 1000);
    });
    this.canvas = this.box.querySelector("canvas");
    // A new size of the machine's screen.
    new MutationObserver(() => this.resize())
      .observe(this.canvas, { attributes: true, attributeFilter: ["width", "height"] });
    this.resize();
  }

  // Whole multiples go beyond noVNC, which fits only: the box is made of that size.
  resize() {
    if (!this.canvas) return;
    const { width, height } = this.canvas;
    const target = this.canvas.parentElement;
    const room = this.box.getBoundingClientRect();
    let times = Number(this.scale) || 0;
    if (this.scale === "whole") {
      times = Math.max(1, Math.floor(Math.min(room.width / width, room.height / height)));
    }
    this.box.classList.toggle("whole", times > 0);
    const style = times
      ? [`${width * times}px`, `${height * times}px`] : ["100%", "100%"];
    if (target.style.width !== style[0] || target.style.height !== style[1]) {
      [target.style.width, target.style.height] = style;
    }
    if (!this.rfb.scaleViewport) this.rfb.scaleViewport = true;
  }

  async fullScreen() {
    if (document.fullscreenElement) await document.exitFullscreen();
    else await this.box.requestFullscreen();
    this.rfb.focus();
  }

  leave() {
    document.exitPointerLock?.();
    window.dispatchEvent(new Event("blur")); // noVNC lets go of its keys then
    this.rfb.blur();
    $("pause").focus();
  }

  // --- the pointer: the guest's ADB mouse knows movements only --------------------------------

  setAbsolute(absolute) {
    if (absolute === this.absolute) return;
    this.absolute = absolute;
    if (absolute) document.exitPointerLock?.();
    $("hint").textContent = this.hint();
  }

  hint() {
    const leave = "Ctrl+Alt+M leaves the screen for the menu.";
    return this.absolute ? leave : `Click the screen to give it the mouse; Esc gives it back. ${leave}`;
  }

  catchPointer() {
    $("hint").textContent = this.hint();
    const locked = () => document.pointerLockElement === this.box;
    const mine = (event) => {
      if (this.absolute || event.pointerType === "touch" || !this.canvas) return;
      event.stopPropagation();
      event.preventDefault();
      this.pointer(event, locked());
    };
    for (const kind of ["mousedown", "mouseup", "mousemove", "wheel", "click", "contextmenu"]) {
      this.box.addEventListener(kind, mine, { capture: true, passive: false });
    }
    document.addEventListener("pointerlockchange", () => {
      if (!locked()) this.send(NAMES.map((button) => btn(button, false)));
    });
  }

  pointer(event, locked) {
    if (event.type === "mousedown" && !locked) {
      this.rfb.focus();
      this.box.requestPointerLock?.()?.catch?.((fault) => say(`the mouse: ${fault.message}`));
      return;
    }
    if (!locked) return;
    if (event.type === "mousemove") {
      if (!this.moved.x && !this.moved.y) requestAnimationFrame(() => this.flush());
      this.moved.x += event.movementX;
      this.moved.y += event.movementY;
    } else if (event.type === "wheel") {
      const button = event.deltaY < 0 ? "wheel-up" : "wheel-down";
      this.send([btn(button, true), btn(button, false)]);
    } else if (event.type === "mousedown" || event.type === "mouseup") {
      this.flush();
      const name = NAMES[event.button];
      if (name) this.send([btn(name, event.type === "mousedown")]);
    }
  }

  flush() {
    const { x, y } = this.moved;
    this.moved = { x: 0, y: 0 };
    if (x || y) this.send([axis("x", x), axis("y", y)]);
  }

  send(events) {
    this.monitor.quietly("input-send-event", { events });
  }
}

const btn = (button, down) => ({ type: "btn", data: { button, down } });
const axis = (name, value) => ({ type: "rel", data: { axis: name, value: Math.round(value) } });
