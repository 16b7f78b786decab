// An application with npm `faye`. Commands are its methods.
import { createRequire } from "node:module";
const Faye = createRequire(import.meta.url)("faye");

export class FayeActor {
  #subscriptions = new Map();
  #unsubscribed = new Map();
  #transport;
  #settled;
  #tell;

  constructor({ url, transport, tell }) {
    this.#tell = tell;
    this.#transport = transport;
    this.client = new Faye.Client(url, { retry: 0.2 });
    // Its handshake is always an HTTP request: long-polling cannot be switched off.
    if (transport === "long-polling") this.client.disable("websocket");
    this.settled = new Promise((resolve) => { this.#settled = resolve; });
    this.client.addExtension({
      incoming: (message, pass) => { this.#incoming(message); pass(message); },
      outgoing: (message, pass) => { this.#outgoing(message); pass(message); },
    });
  }

  #outgoing({ channel, connectionType }) {
    if (channel === "/meta/connect" && connectionType === this.#transport) this.#settled();
  }

  #incoming({ channel, successful, clientId, subscription }) {
    if (channel === "/meta/handshake" && successful) this.#tell({ event: "session", clientId });
    if (channel === "/meta/connect") this.#tell({ event: "connect", successful });
    if (channel === "/meta/subscribe" && successful) this.#tell({ event: "subscribed", channel: subscription });
    if (channel === "/meta/unsubscribe" && successful) this.#unsubscribed.get(subscription)?.();
  }

  async handshake() {
    await new Promise((resolve) => this.client.connect(resolve));
    // It polls until its WebSocket is open: a connect says which it is.
    await this.settled;
    return { transport: this.#transport };
  }

  async subscribe({ channel }) {
    const subscription = this.client.subscribe(channel).withChannel((on, data) =>
      this.#tell({ event: "heard", by: channel, channel: on, data }));
    this.#subscriptions.set(channel, subscription);
    await subscription;
  }

  async unsubscribe({ channel }) {
    const done = new Promise((resolve) => this.#unsubscribed.set(channel, resolve));
    this.#subscriptions.get(channel).cancel();
    await done;
  }

  async publish({ channel, data }) {
    await this.client.publish(channel, data);
  }

  /** What is published in one turn goes out in one request, or in a frame each. */
  async batch({ channel, count }) {
    await Promise.all(Array.from({ length: count }, (_, n) => this.client.publish(channel, { n })));
  }

  /** Faye has no calls: a publish, and a subscription for the answer. */
  async call({ target, data }) {
    const channel = `/service/${target}`;
    let subscription;
    const answer = new Promise((resolve) => { subscription = this.client.subscribe(channel, resolve); });
    await subscription;
    await this.client.publish(channel, data);
    const heard = await answer;
    subscription.cancel();
    return heard;
  }

  async disconnect() {
    await this.client.disconnect();
  }
}
