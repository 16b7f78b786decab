// replay.mjs: what the replay extension makes of single messages, without a gateway. Prints how many cases hold.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { story, tell } from "./lib.mjs";

const file = new URL("../../gateway/app/src/page/replay.js", import.meta.url);
const { Replay } = await import(`data:text/javascript,${encodeURIComponent(await readFile(file, "utf8"))}`);

/** An extension as a client has it; `failed` is the client's word that a subscribe failed. */
function extension(options = {}) {
  const replay = new Replay({ storage: null, ...options });
  let failed;
  replay.registered("replay", { addListener: (_, listener) => { failed = listener; }, removeListener() {} });
  let id = 0;
  return {
    replay,
    failed: (subscription) => failed({ successful: false, subscription, id: `${id}` }),
    asks: (subscription) => replay.outgoing({ channel: "/meta/subscribe", subscription, id: `${++id}` }).ext.replay[subscription],
    told: (subscription, position) =>
      replay.incoming({ channel: "/meta/subscribe", successful: true, subscription, ext: { replay: { [subscription]: position } } }),
    refused: (subscription, error) => replay.incoming({ channel: "/meta/subscribe", successful: false, subscription, error }),
    takes: (channel, position) => replay.incoming({ channel, data: 1, ext: { replay: position } }) !== null,
  };
}

/** A token of places in partitions of the topic "t". */
const token = (...places) => Buffer.from([1, ...places.flatMap(([partition, n]) => [1, 116, partition, (n & 127) | 128, n >> 7, 8])]).toString("base64url");

const cases = {
  "a subscription begins where the application says"() {
    for (const [from, position] of [[undefined, -1], ["all", -2], [7, 7], [new Date(0), { at: "1970-01-01T00:00:00.000Z" }], [(s) => s.length, 2]]) {
      assert.deepEqual(extension({ from }).asks("/a"), position);
    }
  },
  "numbers that the gateway has not spoken of may be those of several logs: nothing is dropped"() {
    const { replay, asks, takes, told } = extension();
    asks("/a");
    assert.ok([5, 3, 3].every((position) => takes("/a", position)));
    assert.equal(replay.position("/a"), undefined);
    told("/a", 2); // the reply came after its first messages
    assert.equal(replay.position("/a"), 5);
    assert.deepEqual([takes("/a", 5), takes("/a", 6), takes("/b", 1)], [false, true, true]);
  },
  "where subscriptions overlap only the gateway says how far each is"() {
    const { replay, asks, takes, told } = extension();
    asks("/a"), told("/a", 5), asks("/**"), told("/**", 2);
    assert.ok(takes("/a", 9) && takes("/a", 3));
    told("/**", 9);
    assert.deepEqual([replay.position("/a"), replay.position("/**")], [5, 9]);
  },
  "of tokens the farther place of each log counts"() {
    const { replay, asks, takes, told } = extension();
    asks("/t/*"), told("/t/*", token([0, 500], [1, 7]));
    assert.deepEqual([takes("/t/a", token([0, 500])), takes("/t/a", token([0, 501])), takes("/t/a/b", token([0, 1]))], [false, true, true]);
    told("/t/*", `${token([2, 4])}.${token([1, 6])}`);
    assert.equal(replay.position("/t/*"), token([0, 501], [1, 7], [2, 4]));
  },
  "a subscription that was lost with its connection moves on with nothing"() {
    const { replay, asks, takes, told, failed } = extension();
    asks("/a"), told("/a", 5), asks("/a"), failed("/a");
    assert.ok(takes("/a", 9));
    assert.equal(replay.position("/a"), 5);
  },
  async "what is gone is forgotten, and told when the application can subscribe again"() {
    const gone = [];
    const { asks, told, refused } = extension({ onGone: (...told) => gone.push(told) });
    asks("/a"), told("/a", 5), asks("/a"), refused("/a", "503:/a:broker_unavailable");
    assert.equal(asks("/a"), 5);
    for (const error of ["400::The replayId {5} you provided was invalid.  Please …", "400:/a:replay_unsupported"]) {
      refused("/a", error);
      await null;
      assert.deepEqual(gone.pop(), ["/a", error]);
      assert.equal(asks("/a"), -1);
    }
  },
  "what is stored and no position is passed over, and storage that refuses is no trouble"() {
    const storage = { getItem: () => JSON.stringify({ "/a": "?!", "/b": 5, "/c": {}, "/d": null }), setItem() { throw new Error("full"); } };
    const { replay, asks } = extension({ storage });
    assert.deepEqual(["/a", "/b", "/c", "/d"].map(asks), [-1, 5, -1, -1]);
    replay.forget();
    assert.equal(asks("/b"), -1);
    assert.equal(extension({ storage: { getItem: () => "{", setItem() {} } }).asks("/b"), -1);
  },
};

await story(async () => {
  for (const [name, holds] of Object.entries(cases)) {
    await Promise.resolve().then(holds).catch((error) => { throw new Error(`${name}: ${error.stack}`); });
  }
  tell(Object.keys(cases).length);
});
