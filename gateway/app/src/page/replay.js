/**
 * Replay for CometD's JavaScript client: it remembers how far each subscription has come, and goes on from there after a
 * new handshake, a reload of the page or a restart of the gateway. What it gives is in docs/delivery.md.
 *
 *     import {CometD} from "cometd";
 *     import {Replay} from "https://gateway.example.com/cometd/replay.js";
 *
 *     const cometd = new CometD();
 *     cometd.registerExtension("replay", new Replay());
 *
 * Options, all of which can be left out:
 * - `from`: where a subscription begins of which nothing is remembered: "new" (the default), "all", a position, a `Date`, or
 *   a function that is given the subscription and returns one of these.
 * - `storage`: where positions outlive the page: the page's `sessionStorage` where there is one, `localStorage` to outlive
 *   the tab, any object with `getItem` and `setItem`, or `null` for this object's memory only.
 * - `key`: the name under which they are stored: one for each client that uses the same storage.
 * - `onGone(subscription, error)`: the gateway does not have the remembered position any more, so messages may have been
 *   missed, and the subscription is refused. The position is forgotten: subscribing again begins at `from`.
 *
 * It asks for acknowledgement, as CometD's AckExtension does (both may be registered), unless `cometd.ackEnabled` is false.
 */
export class Replay {
    #options;
    #storage;
    #key;
    #cometd;
    /** By subscription: places that the gateway speaks of. These are stored. */
    #places = new Map();
    /** What this session subscribes to: the place, of which the gateway may not have spoken yet, and the request's id. */
    #asked = new Map();
    #saving;
    #acknowledges = false;
    #batch = 0;
    #listener;
    #leave = () => this.#save();

    constructor(options = {}) {
        this.#options = options;
        this.#storage = options.storage === undefined ? ofThePage() : options.storage;
        this.#key = options.key ?? "bayeux.replay";
        for (const [subscription, position] of Object.entries(this.#load())) {
            const place = Place.read(position);
            if (place) {
                this.#places.set(subscription, place);
            }
        }
    }

    registered(name, cometd) {
        this.#cometd = cometd;
        // Also a request that was lost with its connection: the client has forgotten its listener then.
        this.#listener = cometd.addListener("/meta/subscribe", ({successful, subscription, id}) => {
            const name = bare([subscription].flat()[0]);
            if (!successful && this.#asked.get(name)?.id === id) {
                this.#asked.delete(name);
            }
        });
        globalThis.addEventListener?.("pagehide", this.#leave);
    }

    unregistered() {
        globalThis.removeEventListener?.("pagehide", this.#leave);
        this.#cometd.removeListener(this.#listener);
        this.#cometd = undefined;
        this.#save();
    }

    /** The position that a subscription would go on from: a number, a string, or `undefined`. */
    position(subscription) {
        return this.#places.get(bare(subscription))?.position();
    }

    /** Forgets how far a subscription has come, or all of them: the next time it begins at `from`. */
    forget(subscription) {
        for (const name of subscription === undefined ? [...this.#places.keys()] : [bare(subscription)]) {
            this.#places.delete(name);
            const asked = this.#asked.get(name);
            if (asked) {
                asked.place = new Place();
            }
        }
        this.#save();
    }

    outgoing(message) {
        switch (message.channel) {
            case "/meta/handshake":
                this.#acknowledges = false;
                this.#batch = 0;
                if (this.#cometd?.ackEnabled !== false) {
                    extend(message, "ack", true);
                }
                break;
            case "/meta/connect":
                if (this.#acknowledges) {
                    extend(message, "ack", this.#batch);
                }
                break;
            case "/meta/subscribe": {
                const positions = {};
                for (const subscription of [message.subscription].flat()) {
                    const name = bare(subscription);
                    positions[subscription] = this.position(name) ?? this.#beginning(subscription);
                    this.#asked.set(name, {place: this.#places.get(name) ?? new Place(), id: message.id});
                }
                extend(message, "replay", positions);
                break;
            }
            case "/meta/unsubscribe":
                for (const subscription of [message.subscription].flat()) {
                    this.#asked.delete(bare(subscription));
                }
                break;
        }
        return message;
    }

    incoming(message) {
        switch (message.channel) {
            case "/meta/handshake":
                if (message.successful) {
                    const ack = message.ext?.ack;
                    this.#acknowledges = ack === true || ack?.enabled === true;
                    this.#batch = ack?.batch ?? 0;
                    this.#asked.clear();
                    if (message.ext?.reload) {
                        // By CometD's ReloadExtension the session goes on, and its messages come before what the page asks.
                        this.#places.forEach((place, name) => this.#asked.set(name, {place}));
                    }
                }
                return message;
            case "/meta/connect":
                if (typeof message.ext?.ack === "number") {
                    this.#batch = message.ext.ack;
                }
                if (message.ext?.replay) {
                    this.#told(message.ext.replay);
                    const names = Object.keys(message.ext.replay).map(bare);
                    for (const [name, {id}] of this.#asked) {
                        if (id === undefined && !names.includes(name)) {
                            this.#asked.delete(name); // remembered from before that session
                        }
                    }
                }
                return message;
            case "/meta/subscribe":
                this.#told(message.ext?.replay);
                if (message.successful === false && isGone(message.error)) {
                    this.#gone([message.subscription].flat(), message.error);
                }
                return message;
        }
        return message.channel.startsWith("/meta/") ? message : this.#delivery(message);
    }

    /** A message of a log moves the subscription on that it is for; `null` for one that it has had. */
    #delivery(message) {
        const position = message.ext?.replay ?? message.data?.event?.replayId;
        if (position === undefined) {
            return message;
        }
        const reached = [...this.#asked.keys()].filter((subscription) => reaches(subscription, message.channel));
        // Of several, one may be catching up while another is live, and the message does not say for which it comes:
        // then only the replies to connects say how far each of them is.
        if (reached.length !== 1) {
            return message;
        }
        const ahead = this.#asked.get(reached[0]).place.advance(position);
        // Until the gateway has spoken of this subscription, nobody knows whether its numbers are those of one log. Its
        // reply may come after its first messages, by another connection.
        if (!this.#places.has(reached[0])) {
            return message;
        }
        this.#saveSoon();
        return ahead ? message : null;
    }

    /** The gateway says how far subscriptions are, also where no message came. */
    #told(positions) {
        for (const [subscription, position] of Object.entries(positions ?? {})) {
            const name = bare(subscription);
            const place = this.#asked.get(name)?.place;
            if (place) {
                place.advance(position);
                this.#places.set(name, place);
                this.#saveSoon();
            }
        }
    }

    #gone(subscriptions, error) {
        for (const subscription of subscriptions) {
            this.#asked.delete(bare(subscription));
            this.forget(subscription);
            // Once the client has dealt with the refusal: then the application can subscribe again.
            queueMicrotask(() => this.#options.onGone?.(subscription, error));
        }
    }

    #beginning(subscription) {
        let from = this.#options.from;
        if (typeof from === "function") {
            from = from(subscription);
        }
        if (from instanceof Date) {
            return {at: from.toISOString()};
        }
        return {new: -1, all: -2}[from ?? "new"] ?? from;
    }

    #load() {
        try {
            return JSON.parse(this.#storage?.getItem(this.#key) ?? "{}") ?? {};
        } catch {
            return {};
        }
    }

    /** After the listeners of this message: what is stored was dealt with. */
    #saveSoon() {
        if (this.#storage) {
            this.#saving ??= setTimeout(this.#leave, 50);
        }
    }

    #save() {
        clearTimeout(this.#saving);
        this.#saving = undefined;
        const places = [...this.#places].map(([subscription, place]) => [subscription, place.position()]);
        try {
            this.#storage?.setItem(this.#key, JSON.stringify(Object.fromEntries(places)));
        } catch {
            // Storage that is full or forbidden: positions live as long as this object.
        }
    }
}

/** How far one subscription has come: a number, or a place in each of the broker's logs. */
class Place {
    #number;
    #logs = new Map();

    /** From storage; `undefined` for what is no position. */
    static read(stored) {
        const place = new Place();
        try {
            return place.advance(stored) && place.position() !== undefined ? place : undefined;
        } catch {
            return undefined;
        }
    }

    /** Moves on to a position; false when it is not ahead. A topic may get more logs than one: tokens follow numbers then. */
    advance(position) {
        if (typeof position === "number") {
            const ahead = this.#number === undefined || position > this.#number;
            if (ahead) {
                this.#number = position;
                this.#logs.clear();
            }
            return ahead;
        }
        let ahead = this.#number !== undefined;
        for (const {log, n, bytes} of [...logs(position)]) {
            this.#number = undefined;
            if (!(n <= this.#logs.get(log)?.n)) {
                this.#logs.set(log, {n, bytes});
                ahead = true;
            }
        }
        return ahead;
    }

    /** As the gateway takes it: a number, a token, or `undefined`. */
    position() {
        if (this.#number !== undefined || this.#logs.size === 0) {
            return this.#number;
        }
        const bytes = FORM + [...this.#logs.values()].map(({bytes}) => bytes).join("");
        return btoa(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
    }
}

/** The first byte of a token. */
const FORM = "\u0001";

/**
 * The places in a token. Dots join tokens; each is base64url of the byte 1 and, for each log, the topic (its length and its
 * bytes), the partition, the place in it and a time, all of them numbers of seven bits a byte, the lowest first.
 */
function* logs(token) {
    for (const part of token.split(".")) {
        const text = atob(part.replaceAll("-", "+").replaceAll("_", "/"));
        if (!text.startsWith(FORM)) {
            throw new Error(`not a position: ${token}`);
        }
        let at = 1;
        const number = () => {
            for (let value = 0, scale = 1; ; scale *= 128) {
                if (at >= text.length) {
                    throw new Error(`not a position: ${token}`);
                }
                const byte = text.charCodeAt(at++);
                value += (byte % 128) * scale;
                if (byte < 128) {
                    return value;
                }
            }
        };
        while (at < text.length) {
            const begin = at;
            const length = number();
            at += length;
            number();
            const log = text.slice(begin, at);
            const n = number();
            number();
            yield {log, n, bytes: text.slice(begin, at)};
        }
    }
}

function ofThePage() {
    try {
        return globalThis.sessionStorage;
    } catch {
        return undefined; // the visitor allows none
    }
}

function extend(message, name, value) {
    message.ext = {...message.ext, [name]: value};
}

/** The position is not there (any more), or there is no log (any more). */
function isGone(error) {
    return /^400:(:The replayId |.*:replay_unsupported$)/.test(error ?? "");
}

/** A subscription without a slash at its end, as the gateway takes it. */
function bare(subscription) {
    return subscription.length > 1 && subscription.endsWith("/") ? subscription.slice(0, -1) : subscription;
}

/** Whether a subscription brings the messages of a channel. */
function reaches(subscription, channel) {
    const parent = subscription.replace(/\*\*?$/, "");
    if (parent === subscription) {
        return subscription === bare(channel);
    }
    const rest = channel.slice(parent.length);
    return channel.startsWith(parent) && rest !== "" && (subscription.endsWith("**") || !rest.includes("/"));
}
