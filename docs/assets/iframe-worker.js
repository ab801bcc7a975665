/* Search runs in a Worker, and browsers refuse one to pages that are opened as files. There a hidden frame takes its place: the
 * same script runs in it, and messages go to and fro. Where pages come from a server, nothing of this happens. */
"use strict";
if (location.protocol === "file:") {
  class FrameWorker extends EventTarget {
    #frame = document.createElement("iframe");
    #ready;

    constructor(url) {
      super();
      const script = String(new URL(url, document.baseURI));
      this.#frame.hidden = true;
      this.#frame.srcdoc = "<!doctype html>";
      this.#ready = new Promise((resolve, reject) => {
        this.#frame.addEventListener("load", () => {
          const inside = this.#frame.contentWindow;
          inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
          const element = inside.document.createElement("script");
          element.addEventListener("load", () => resolve(inside));
          element.addEventListener("error", reject);
          element.src = script;
          inside.document.head.append(element);
        }, { once: true });
      });
      document.documentElement.append(this.#frame);
    }

    postMessage(data) {
      this.#ready.then(
        (inside) => inside.dispatchEvent(new MessageEvent("message", { data })),
        (error) => this.dispatchEvent(new ErrorEvent("error", { error })),
      );
    }

    terminate() {
      this.#frame.remove();
    }
  }

  window.Worker = FrameWorker;
  window.IFrameWorker = FrameWorker; // by this name the script finds out where it was loaded from
}
