// Keys: which of the Mac's the keys of a PC are, combinations to choose from, text that is typed.

import { $, does, el, remember, remembered, say } from "./dom.js";

const XK = { Alt_L: 0xffe9, Alt_R: 0xffea, Super_L: 0xffeb, Super_R: 0xffec };
// Where the Alt key is to be Command: Alt and the Windows (or Command) key change places.
const SWAPPED = {
  AltLeft: [XK.Super_L, "MetaLeft"], AltRight: [XK.Super_R, "MetaRight"],
  MetaLeft: [XK.Alt_L, "AltLeft"], MetaRight: [XK.Alt_R, "AltRight"],
};
let swaps = remembered("alt", "option") === "command";

export function mapped(keysym, code) {
  return swaps && SWAPPED[code] ? SWAPPED[code] : [keysym, code];
}

// QEMU's names: meta_l is Command, alt is Option.
const COMBOS = [
  ["Force quit", "⌘ ⌥ Esc", ["meta_l", "alt", "esc"]],
  ["Quit", "⌘ Q", ["meta_l", "q"]],
  ["Close window", "⌘ W", ["meta_l", "w"]],
  ["Cancel", "⌘ .", ["meta_l", "dot"]],
  ["Open", "⌘ O", ["meta_l", "o"]],
  ["Eject the disc", "⌘ E", ["meta_l", "e"]],
  ["Picture of the screen", "⌘ ⇧ 3", ["meta_l", "shift", "3"]],
  ["Debugger (MacsBug)", "⌘ Power", ["meta_l", "power"]],
  ["Restart at once", "⌘ ⌃ Power", ["meta_l", "ctrl", "power"]],
  ["Start without extensions", "hold ⇧", ["shift"], 15000],
  ["Start from the CD", "hold C", ["c"], 15000],
  ["Clear parameter RAM", "hold ⌘ ⌥ P R", ["meta_l", "alt", "p", "r"], 15000],
  ["Open Firmware", "hold ⌘ ⌥ O F", ["meta_l", "alt", "o", "f"], 10000],
  ["Rebuild the desktop", "hold ⌘ ⌥", ["meta_l", "alt"], 30000],
  ["Linux: next console", "⌥ →", ["alt", "right"]],
  ["Linux: SysRq help", "⌥ SysRq H", ["alt", "sysrq", "h"]],
  ["Restart Linux", "⌃ ⌥ Delete", ["ctrl", "alt", "delete"]],
];

export const press = (monitor, names, hold = 100) =>
  monitor.execute("send-key", {
    keys: names.map((data) => ({ type: "qcode", data })), "hold-time": hold,
  });

const PLAIN = {
  " ": "spc", "\n": "ret", "\t": "tab", "-": "minus", "=": "equal", "[": "bracket_left",
  "]": "bracket_right", ";": "semicolon", "'": "apostrophe", "`": "grave_accent",
  "\\": "backslash", ",": "comma", ".": "dot", "/": "slash",
};
const SHIFTED = {
  "!": "1", "@": "2", "#": "3", $: "4", "%": "5", "^": "6", "&": "7", "*": "8", "(": "9", ")": "0",
  _: "minus", "+": "equal", "{": "bracket_left", "}": "bracket_right", ":": "semicolon",
  '"': "apostrophe", "~": "grave_accent", "|": "backslash", "<": "comma", ">": "dot", "?": "slash",
};

// The keys of a character on a US keyboard; null: it has none.
export function keysOf(letter) {
  if (/^[a-z0-9]$/.test(letter)) return [letter];
  if (/^[A-Z]$/.test(letter)) return ["shift", letter.toLowerCase()];
  if (PLAIN[letter]) return [PLAIN[letter]];
  return SHIFTED[letter] ? ["shift", SHIFTED[letter]] : null;
}

const HOLD = 15; // ms of the guest for a key

export class Keys {
  constructor(monitor, consoles) {
    this.monitor = monitor;
    this.consoles = consoles;
    $("alt").value = swaps ? "command" : "option";
    $("alt").onchange = () => {
      swaps = $("alt").value === "command";
      remember("alt", $("alt").value);
    };
    $("combos").append(...COMBOS.map(([text, shown, names, hold]) =>
      el("button", { type: "button", onclick: does(() => press(monitor, names, hold)) },
        el("span", {}, shown), text)));
    $("type").onclick = does(() => this.type($("text").value.replaceAll("\r\n", "\n")));
    for (const menu of document.querySelectorAll(".menu")) {
      menu.addEventListener("keydown", (event) => {
        if (event.key === "Escape") { menu.open = false; menu.querySelector("summary").focus(); }
      });
      document.addEventListener("click", (event) => {
        if (!menu.contains(event.target)) menu.open = false;
      });
    }
  }

  places(count) {
    $("into").replaceChildren(el("option", { value: "keyboard" }, "the keyboard"),
      ...Array.from({ length: count }, (_, n) => el("option", { value: n }, `console ${n + 1}`)));
  }

  async type(text) {
    if ($("into").value !== "keyboard") {
      this.consoles.type(Number($("into").value), text.replaceAll("\n", "\r"));
      return;
    }
    const strange = [...new Set([...text].filter((one) => !keysOf(one)))];
    if (strange.length) {
      throw new Error(`a US keyboard has no key for ${strange.slice(0, 5).join(" ")}`);
    }
    for (const letter of text) {
      await press(this.monitor, keysOf(letter), HOLD);
      await new Promise((done) => setTimeout(done, 2 * HOLD));
    }
    say(`${text.length} characters were typed`);
  }
}
