// The way to the server: addresses with the token, and the monitor.

const token = new URLSearchParams(location.search).get("token") ?? "";

export function address(path, given = {}) {
  const query = new URLSearchParams({ ...given, token });
  return `${path}?${query}`;
}

export const socket = (path, given) =>
  `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${address(path, given)}`;

// A QMP monitor that comes back when its connection was lost.
export class Monitor extends EventTarget {
  constructor() {
    super();
    this.waiting = new Map();
    this.last = 0;
    this.wait = 250;
    this.over = false;
  }

  connect() {
    const peer = this.peer = new WebSocket(socket("/qmp"));
    peer.onmessage = (event) => this.take(JSON.parse(event.data));
    peer.onclose = () => {
      for (const { fail } of this.waiting.values()) fail(new Error("the connection was lost"));
      this.waiting.clear();
      this.ready = false;
      this.dispatchEvent(new Event("lost"));
      if (!this.over) setTimeout(() => this.connect(), this.wait);
      this.wait = Math.min(this.wait * 2, 5000);
    };
  }

  async take(value) {
    if (value.QMP) {
      await this.execute("qmp_capabilities");
      this.ready = true;
      this.wait = 250;
      this.dispatchEvent(new Event("ready"));
    } else if (value.event) {
      this.dispatchEvent(new CustomEvent(value.event, { detail: value.data ?? {} }));
      this.dispatchEvent(new CustomEvent("any", { detail: value }));
    } else {
      const { done, fail } = this.waiting.get(value.id) ?? {};
      this.waiting.delete(value.id);
      if (value.error) fail?.(new Error(value.error.desc));
      else done?.(value.return);
    }
  }

  execute(command, given = undefined) {
    if (this.peer.readyState !== WebSocket.OPEN) {
      return Promise.reject(new Error("there is no connection to the machine"));
    }
    const id = ++this.last;
    const request = { execute: command, id };
    if (given !== undefined) request.arguments = given;
    this.peer.send(JSON.stringify(request));
    return new Promise((done, fail) => this.waiting.set(id, { done, fail }));
  }

  // Commands that only tidy up, or poll: what goes wrong says nothing.
  async quietly(command, given) {
    try {
      return await this.execute(command, given);
    } catch {
      return null;
    }
  }
}

// Sends a file; gives the name that it has there.  `say` hears how far it is.
export function upload(file, given, say) {
  return new Promise((done, fail) => {
    const peer = new WebSocket(socket("/upload", given));
    let at = 0;
    let answered = false;
    const more = async () => {
      while (at < file.size) {
        if (peer.readyState !== WebSocket.OPEN) return;
        if (peer.bufferedAmount > 4 << 20) { setTimeout(more, 20); return; }
        const piece = await file.slice(at, at += 512 << 10).arrayBuffer();
        peer.send(piece);
        say(`uploading ${given.name}: ${Math.floor(100 * Math.min(at, file.size) / file.size)} %`);
      }
      peer.send(new ArrayBuffer(0));
    };
    peer.onopen = more;
    peer.onmessage = (event) => {
      const { name, error } = JSON.parse(event.data);
      answered = true;
      if (error) fail(new Error(error));
      else done(name);
    };
    // Why it was refused, a WebSocket does not say: the same address does.
    peer.onclose = async () => {
      if (answered) return;
      const text = await fetch(address("/upload", given)).then((reply) => reply.text(), () => "");
      fail(new Error(text.trim() || `${given.name} was not taken`));
    };
  });
}
