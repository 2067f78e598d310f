/* The search of the site runs in a Worker, and browsers start none for pages opened from the disk. There, a hidden frame
   does the Worker's work: it loads the same script, hears messages and sends its own back. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.appendChild(this.frame);
      this.ready = new Promise((done, failed) => {
        const inner = this.frame.contentWindow;
        inner.postMessage = (data) => {
          const event = new MessageEvent("message", { data });
          this.dispatchEvent(event);
          if (this.onmessage) this.onmessage(event);
        };
        inner.importScripts = (...addresses) =>
          addresses.reduce((before, address) => before.then(() => new Promise((loaded, error) => {
            const script = Object.assign(inner.document.createElement("script"), { src: address, onload: loaded, onerror: error });
            inner.document.body.appendChild(script);
          })), Promise.resolve());
        const script = inner.document.createElement("script");
        script.onload = done;
        script.onerror = failed;
        script.src = url;
        inner.document.body.appendChild(script);
      });
    }
    postMessage(data) {
      this.ready.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })));
    }
    terminate() {
      this.frame.remove();
    }
  };
}
