// Elements, messages, questions.  Text is always text: nothing here is read as HTML.

export const $ = (id) => document.getElementById(id);

export function el(tag, given = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(given)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made && key !== "list") made[key] = value;
    else if (value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((one) => one !== null && one !== undefined));
  return made;
}

let hiding = 0;

export function say(text) {
  $("message").textContent = text;
  clearTimeout(hiding);
  hiding = setTimeout(() => { $("message").textContent = ""; }, 8000);
}

// Does what a button stands for; what goes wrong is shown.  A button that is disabled meanwhile
// would lose the focus, and a keyboard its place.
export const does = (action) => async (event) => {
  const button = event?.currentTarget;
  if (button instanceof HTMLButtonElement) button.ariaBusy = "true";
  try {
    await action(event);
  } catch (fault) {
    say(fault.message || String(fault));
  } finally {
    if (button instanceof HTMLButtonElement) button.ariaBusy = null;
  }
};

// A dialog with a title, elements, and buttons; gives the value of the one that was pressed, or "".
export function ask(title, body, buttons = [["OK", "ok"]]) {
  const dialog = $("ask");
  const form = el("form", { method: "dialog" }, el("h2", { id: "question" }, title), ...body,
    el("div", { className: "row" },
      ...buttons.map(([text, value], n) =>
        el("button", { value, className: n ? "" : "main" }, text)),
      el("button", { value: "", formNoValidate: true }, "Cancel")));
  dialog.replaceChildren(form);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((done) => {
    dialog.addEventListener("close", () => done(dialog.returnValue), { once: true });
  });
}

export async function prompt(title, label, value = "") {
  const input = el("input", { value, required: true, ariaLabel: label, autocomplete: "off" });
  const answer = await ask(title, [el("label", {}, label, input)]);
  return answer ? input.value.trim() : "";
}

export const bytes = (n) => {
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (n < 1024 || unit === "GiB") return `${n < 10 && unit !== "B" ? n.toFixed(1) : Math.round(n)} ${unit}`;
    n /= 1024;
  }
  return "";
};

export const remembered = (key, fallback) => localStorage.getItem(`gossamer.${key}`) ?? fallback;
export const remember = (key, value) => localStorage.setItem(`gossamer.${key}`, value);
