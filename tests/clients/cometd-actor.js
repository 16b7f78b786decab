// An application with CometD's JavaScript client of any version, in Node or in a page. Commands are its methods.

/** Turns a call that takes a callback last into a promise of its message, which must be successful. */
const ask = (call) => new Promise((resolve, reject) => call((reply) => {
  if (reply.successful) resolve(reply);
  else reject(new Error(JSON.stringify(reply)));
}));

export class CometdActor {
  #handles = new Map();
  #tell;

  /** `tell` takes what the application sees; `Replay` is the gateway's replay extension, if it is to be used. */
  constructor({ library, url, transport, extensions, Replay, tell }) {
    this.#tell = tell;
    if (Replay) {
      const onGone = (channel, error) => {
        tell({ event: "gone", channel, error });
        this.#listen(channel);
      };
      extensions.replay = new Replay({ onGone });
    }
    this.cometd = new library.CometD();
    this.cometd.configure({
      url, logLevel: "error", backoffIncrement: 100, maxBackoff: 1000,
      // With callback-polling a reply that was cut short is missed only after the connect's timeout and this (10 s).
      ...(transport === "callback-polling" && { maxNetworkDelay: 3000 }),
    });
    for (const type of this.cometd.getTransportTypes()) {
      if (type !== transport) this.cometd.unregisterTransport(type);
    }
    this.extensions = extensions;
    for (const [name, extension] of Object.entries(extensions)) this.cometd.registerExtension(name, extension);
    this.cometd.addListener("/meta/handshake", (reply) => {
      if (!reply.successful) return;
      tell({ event: "session", clientId: reply.clientId, reloaded: reply.ext?.reload === true });
      // What CometD's manual tells applications to do: subscribe again in the handshake's listener.
      for (const channel of this.#handles.keys()) this.#listen(channel);
    });
    this.cometd.addListener("/meta/connect", ({ successful }) => tell({ event: "connect", successful }));
    this.cometd.addListener("/meta/subscribe", ({ successful, subscription }) =>
      successful && tell({ event: "subscribed", channel: subscription }));
  }

  #listen(channel, done) {
    const heard = ({ channel: on, data }) => this.#tell({ event: "heard", by: channel, channel: on, data });
    this.#handles.set(channel, this.cometd.subscribe(channel, heard, done));
  }

  /** Handshakes; `channels` are subscribed to in the handshake's listener, as after a reload. */
  async handshake({ channels = [] } = {}) {
    for (const channel of channels) this.#handles.set(channel, null);
    await ask((done) => this.cometd.handshake(done));
    const transport = this.cometd.getTransport();
    return { transport: transport.type ?? transport.getType() };
  }

  async subscribe({ channel }) {
    await ask((done) => this.#listen(channel, done));
  }

  async unsubscribe({ channel }) {
    await ask((done) => this.cometd.unsubscribe(this.#handles.get(channel), done));
    this.#handles.delete(channel);
  }

  async publish({ channel, data }) {
    await ask((done) => this.cometd.publish(channel, data, done));
  }

  async batch({ channel, count }) {
    const replies = [];
    this.cometd.batch(() => {
      for (let n = 0; n < count; n++) replies.push(this.publish({ channel, data: { n } }));
    });
    await Promise.all(replies);
  }

  /** The answer of the service on /service/TARGET. */
  async call({ target, data }) {
    return (await ask((done) => this.cometd.remoteCall(target, data, 20_000, done))).data;
  }

  /** What the timesync extension found, in milliseconds. */
  clock() {
    return { lag: this.extensions.timesync.getNetworkLag(), offset: this.extensions.timesync.getTimeOffset() };
  }

  /**
   * Over HTTP the disconnect may overtake a connect on another connection. That is told then that the session is unknown,
   * and the client gives up both requests: it is disconnected without a reply.
   */
  async disconnect() {
    const reply = await new Promise((resolve) => this.cometd.disconnect(resolve));
    if (!reply.successful && !this.cometd.isDisconnected()) throw new Error(JSON.stringify(reply));
  }
}
