// A small Bayeux client for browsers: WebSocket first, long-polling where that does not open.
//
//   const bayeux = new Bayeux('/cometd');
//   bayeux.addEventListener('state', () => console.log(bayeux.state, bayeux.transport));
//   bayeux.subscribe('/chat/*', (message) => console.log(message.channel, message.data));
//   bayeux.start();
//   await bayeux.publish('/chat/lobby', { text: 'hello' });
//   const answer = await bayeux.call('/service/echo', { question: 42 });
//
// It follows the server's advice, comes back after a lost connection, and when the server has forgotten the session it
// makes a new handshake and subscribes again. Events: `state`, and `message` with { way: 'in' | 'out', message }.

const OPEN_TIMEOUT = 5_000;
const REPLY_TIMEOUT = 10_000;
const LONGEST_PAUSE = 5_000;

/** Messages over one WebSocket. */
class WebSocketTransport {
  name = 'websocket';

  constructor(url, { received, failed }) {
    this.url = url.replace(/^http/, 'ws');
    this.received = received;
    this.failed = failed;
  }

  open() {
    return new Promise((resolve, reject) => {
      const socket = (this.socket = new WebSocket(this.url));
      const timer = setTimeout(() => reject(new Error('the WebSocket did not open in time')), OPEN_TIMEOUT);
      socket.onopen = () => resolve();
      socket.onmessage = (event) => this.received(JSON.parse(event.data));
      socket.onclose = (event) => {
        const reason = event.reason || (event.code === 1006 ? 'the WebSocket broke' : `the WebSocket closed (${event.code})`);
        reject(new Error(reason));
        this.failed(reason);
      };
      const settled = () => clearTimeout(timer);
      socket.addEventListener('open', settled);
      socket.addEventListener('close', settled);
    });
  }

  send(messages) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(messages));
  }

  close() {
    if (!this.socket) return;
    this.socket.onmessage = this.socket.onclose = null;
    this.socket.close();
  }
}

/** Messages over HTTP: requests one after the other, and beside them a connect that the server holds. */
class LongPollingTransport {
  name = 'long-polling';
  #abort = new AbortController();
  #line = Promise.resolve();

  constructor(url, { received, failed }) {
    this.url = url;
    this.received = received;
    this.failed = failed;
  }

  async open() {}

  send(messages) {
    const farewell = messages.some((message) => message.channel === '/meta/disconnect');
    if (messages.some((message) => message.channel === '/meta/connect')) this.#post(messages);
    else if (farewell) this.#post(messages, { keepalive: true, signal: undefined });
    else this.#line = this.#line.then(() => this.#post(messages));
  }

  async #post(messages, options = {}) {
    try {
      const response = await fetch(this.url, {
        method: 'POST',
        credentials: 'include',
        headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify(messages),
        signal: this.#abort.signal,
        ...options,
      });
      if (!response.ok) throw new Error(`the server answered ${response.status}`);
      const answers = await response.json();
      if (!this.#abort.signal.aborted) this.received(answers);
    } catch (error) {
      if (this.#abort.signal.aborted) return;
      this.failed(error instanceof TypeError ? 'the server cannot be reached' : error.message);
    }
  }

  close() {
    this.#abort.abort();
  }
}

const TRANSPORTS = { websocket: WebSocketTransport, 'long-polling': LongPollingTransport };

/** The server said no: `reply` is its message. */
export class Refused extends Error {
  constructor(reply) {
    super(reply.error ?? 'the server refused');
    this.reply = reply;
  }
}

export class Bayeux extends EventTarget {
  /** `stopped`, `connecting`, `connected` or `reconnecting`. */
  state = 'stopped';
  /** Why the connection was lost, while it is. */
  reason = '';
  /** Round trip of the last handshake in ms. */
  openedIn = 0;

  #url;
  #choices;
  #choice = 0;
  #proven = false;
  #link = null;
  #clientId = null;
  #nextId = 1;
  #advice = {};
  #pending = new Map();
  #subscriptions = new Map();
  #outgoing = [];
  #connectId = null;
  #timer = 0;
  #failures = 0;
  #established = false;

  constructor(url, transports = ['websocket', 'long-polling']) {
    super();
    this.#url = new URL(url, location.href).href;
    this.#choices = transports;
  }

  /** The transport in use, or about to be tried. */
  get transport() {
    return this.#link?.name ?? this.#choices[this.#choice];
  }

  /** Connects, and stays connected until `stop`. */
  start() {
    if (this.state !== 'stopped') return;
    this.#failures = 0;
    this.#become('connecting');
    this.#open();
  }

  /** Says farewell to the server. Subscriptions are kept for the next `start`. */
  stop() {
    if (this.state === 'stopped') return;
    if (this.#link && this.#clientId) {
      this.#link.send([this.#seal({ channel: '/meta/disconnect', clientId: this.#clientId })]);
    }
    this.#drop('stopped');
    this.#clientId = null;
    this.#become('stopped');
  }

  /** Changes to other transports, the first that opens wins. */
  use(transports) {
    const running = this.state !== 'stopped';
    this.stop();
    this.#choices = transports;
    this.#choice = 0;
    this.#proven = false;
    if (running) this.start();
  }

  /** Calls `listener(message)` for each message on a channel or pattern. Gives a function that ends it. */
  subscribe(channel, listener) {
    const listeners = this.#subscriptions.get(channel);
    if (listeners) listeners.add(listener);
    else {
      this.#subscriptions.set(channel, new Set([listener]));
      if (this.state === 'connected') this.#subscribe(channel);
    }
    return () => {
      const left = this.#subscriptions.get(channel);
      if (!left?.delete(listener) || left.size > 0) return;
      this.#subscriptions.delete(channel);
      if (this.state === 'connected') {
        this.#request({ channel: '/meta/unsubscribe', subscription: channel }).catch(() => {});
      }
    };
  }

  /** Publishes. Resolves with the server's reply; rejects with `Refused`, or an error if no reply came. */
  publish(channel, data) {
    return this.#request({ channel, data });
  }

  /** Asks a service. Resolves with the data of its answer; a failure rejects with `Refused`, whose reply has its data. */
  async call(channel, data) {
    return (await this.#request({ channel, data }, true)).data;
  }

  // --- the session

  async #open() {
    const Transport = TRANSPORTS[this.#choices[this.#choice]];
    const link = (this.#link = new Transport(this.#url, {
      received: (messages) => this.#link === link && this.#received(messages),
      failed: (reason) => this.#link === link && this.#failed(reason),
    }));
    try {
      await link.open();
    } catch (error) {
      if (this.#link === link) this.#failed(error.message);
      return;
    }
    if (this.#link !== link) return link.close();
    if (this.#clientId) this.#connect(true);
    else this.#handshake();
  }

  async #handshake() {
    const link = this.#link;
    const begun = performance.now();
    this.#clientId = null;
    try {
      const reply = await this.#request({
        channel: '/meta/handshake',
        version: '1.0',
        minimumVersion: '1.0',
        supportedConnectionTypes: [link.name],
      });
      this.openedIn = performance.now() - begun;
      this.#clientId = reply.clientId;
      this.#connect(true);
      for (const channel of this.#subscriptions.keys()) this.#subscribe(channel);
    } catch (error) {
      if (this.#link !== link) return;
      if (error instanceof Refused && this.#advice.reconnect === 'none') return this.#end(error.message);
      this.#failed(error.message);
    }
  }

  #subscribe(channel) {
    this.#request({ channel: '/meta/subscribe', subscription: channel }).catch((error) => {
      if (error instanceof Refused) this.dispatchEvent(new CustomEvent('refused', { detail: { channel, error } }));
    });
  }

  #connect(atOnce = false) {
    const message = this.#seal({
      channel: '/meta/connect',
      clientId: this.#clientId,
      connectionType: this.#link.name,
      ...(atOnce && { advice: { timeout: 0 } }),
    });
    this.#connectId = message.id;
    this.#link.send([message]);
    this.#later(atOnce ? REPLY_TIMEOUT : (this.#advice.timeout ?? 30_000) + REPLY_TIMEOUT, () =>
      this.#failed('the server did not answer in time'),
    );
  }

  #received(messages) {
    for (const message of messages) {
      this.#show('in', message);
      if (message.advice && message.channel.startsWith('/meta/')) this.#advice = { ...this.#advice, ...message.advice };
    }
    for (const message of messages) {
      if (message.channel === '/meta/connect') this.#connected(message);
      else if (!this.#answered(message) && message.data !== undefined) this.#deliver(message);
    }
  }

  #connected(reply) {
    if (reply.id !== this.#connectId) return;
    this.#connectId = null;
    const { reconnect, interval = 0 } = this.#advice;
    if (reconnect === 'none') return this.#end(reply.error ?? 'the server ended the session');
    if (reconnect === 'handshake' || reply.error?.startsWith('402:')) {
      this.#advice.reconnect = 'retry';
      this.#clientId = null;
      // The server is there: if it had known this session before, a new one is worth trying at once.
      if (this.#established) this.#failures = 0;
      this.#established = false;
      this.#become('reconnecting', 'the server asks for a new session');
      return this.#later(interval + this.#pause(), () => this.#handshake());
    }
    if (!reply.successful) return this.#failed(reply.error ?? 'the server refused a connect');
    this.#proven = this.#established = true;
    this.#failures = 0;
    this.#become('connected');
    this.#later(interval, () => this.#connect());
  }

  // Whether the message belongs to a request. A call is answered by a message with data, all else by one without.
  #answered(message) {
    const pending = this.#pending.get(message.id);
    if (!pending) return false;
    const failed = message.successful === false;
    if (pending.call ? message.data === undefined && !failed : message.data !== undefined) return pending.call;
    this.#pending.delete(message.id);
    clearTimeout(pending.timer);
    if (failed) pending.reject(new Refused(message));
    else pending.resolve(message);
    return true;
  }

  #deliver(message) {
    for (const [pattern, listeners] of this.#subscriptions) {
      if (matches(pattern, message.channel)) for (const listener of listeners) listener(message);
    }
  }

  #request(fields, call = false) {
    const handshake = fields.channel === '/meta/handshake';
    if (!handshake && !this.#clientId) return Promise.reject(new Error('not connected'));
    const message = this.#seal(handshake ? fields : { ...fields, clientId: this.#clientId });
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(message.id);
        reject(new Error('no answer in time'));
      }, REPLY_TIMEOUT);
      this.#pending.set(message.id, { resolve, reject, timer, call });
      // What one turn of the page says goes out together.
      if (this.#outgoing.push(message) === 1) queueMicrotask(() => this.#flush());
    });
  }

  #flush() {
    const messages = this.#outgoing.splice(0);
    if (messages.length > 0) this.#link?.send(messages);
  }

  #seal(message) {
    const sealed = { id: String(this.#nextId++), ...message };
    this.#show('out', sealed);
    return sealed;
  }

  #failed(reason) {
    this.#drop(reason);
    // A WebSocket that has worked here is tried again; one that never did gives way to the next transport.
    if (!this.#proven) this.#choice = (this.#choice + 1) % this.#choices.length;
    const pause = Math.max(this.#advice.interval ?? 0, this.#pause());
    this.#become(this.#proven ? 'reconnecting' : 'connecting', reason);
    this.#later(pause, () => this.#open());
  }

  #end(reason) {
    this.#drop(reason);
    this.#clientId = null;
    this.#become('stopped', reason);
  }

  #drop(reason) {
    this.#link?.close();
    this.#link = null;
    this.#connectId = null;
    this.#outgoing = [];
    clearTimeout(this.#timer);
    const pending = [...this.#pending.values()];
    this.#pending.clear();
    for (const { reject, timer } of pending) {
      clearTimeout(timer);
      reject(new Error(`the connection was lost: ${reason}`));
    }
  }

  // Nothing after the first failure, then longer and longer, spread so that all clients do not come back at once.
  #pause() {
    const pause = this.#failures === 0 ? 0 : Math.min(LONGEST_PAUSE, 100 * 2 ** this.#failures);
    this.#failures += 1;
    return pause * (0.5 + Math.random() / 2);
  }

  #later(delay, action) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(action, delay);
  }

  #become(state, reason = '') {
    const was = this.state;
    this.state = state;
    this.reason = reason;
    this.dispatchEvent(new CustomEvent('state', { detail: { was, state, reason } }));
  }

  #show(way, message) {
    this.dispatchEvent(new CustomEvent('message', { detail: { way, message } }));
  }
}

/** Whether a channel belongs to a pattern: `/a/*` is one segment more, `/a/**` one or more. */
export function matches(pattern, channel) {
  if (pattern === channel) return true;
  if (pattern.endsWith('/**')) return channel.startsWith(pattern.slice(0, -2));
  if (!pattern.endsWith('/*')) return false;
  const base = pattern.slice(0, -1);
  return channel.startsWith(base) && !channel.slice(base.length).includes('/');
}
