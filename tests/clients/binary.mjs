// binary.mjs URL TRANSPORT VERSION CHANNEL MAX STEP: two applications with CometD's binary extension. One publishes
// chunks of 0 to 5 bytes and then every STEP bytes up to MAX on CHANNEL, the other compares each with what was sent.
// Prints what was not the same, and what a remote call with bytes answered.
import { Inbox, client, disconnect, handshake, load, must, story, subscribe, tell } from "./lib.mjs";

const [url, transport, version, channel, max, step] = process.argv.slice(2);

/** The bytes of the chunk of that length: the test knows the same rule. All byte values come up. */
const bytes = (length) => Uint8Array.from({ length }, (_, i) => (length * 31 + i * 7) % 256).buffer;
const last = (length) => length % 3 !== 0;
const meta = (length) => (length % 2 ? { length, name: `grün "€" \u{1f600}\n`, list: [1.5, { deep: null }] } : undefined);

/** What is wrong with the message that should be the chunk of that length. */
function fault(message, length) {
  const { data, ext } = message;
  if (!(data?.data instanceof ArrayBuffer)) return `no bytes: ${JSON.stringify(message)}`;
  if (Buffer.compare(Buffer.from(data.data), Buffer.from(bytes(length))) !== 0) {
    return `${length} bytes became ${Buffer.from(data.data).toString("hex")}`;
  }
  if (data.last !== last(length)) return `last of ${length} became ${data.last}`;
  const sent = JSON.stringify(meta(length)), came = JSON.stringify(data.meta);
  if (sent !== came) return `meta of ${length} became ${came}`;
  if (JSON.stringify(ext?.binary) !== "{}") return `ext of ${length} is ${JSON.stringify(ext)}`;
  return null;
}

await story(async () => {
  const library = await load(version);
  const application = async () => {
    const cometd = client(library, url, transport);
    cometd.registerExtension("binary", new library.BinaryExtension());
    await handshake(cometd);
    return cometd;
  };
  const [reader, writer] = [await application(), await application()];
  const heard = new Inbox();
  await subscribe(reader, channel, heard.push);

  const lengths = [0, 1, 2, 3, 4, 5];
  for (let length = 6; length <= max; length += Number(step)) lengths.push(length);
  const publish = (length) => new Promise((resolve) => {
    writer.publishBinary(channel, bytes(length), last(length), meta(length), undefined, resolve);
  });
  (await Promise.all(lengths.map(publish))).forEach(must);
  await heard.atLeast(lengths.length, "chunks", 60);
  const faults = heard.items.map((message, i) => fault(message, lengths[i])).filter((found) => found !== null);

  const answer = await new Promise((resolve) => {
    writer.remoteCallBinary("echo", bytes(7), last(7), meta(7), 5000, undefined, resolve);
  });
  tell({
    version: library.exact, lengths, heard: heard.items.length, faults,
    echoed: answer.successful ? fault(answer, 7) ?? "as it was" : JSON.stringify(answer),
  });
  await disconnect(writer);
  await disconnect(reader);
});
