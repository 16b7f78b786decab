// core.mjs URL TRANSPORT VERSION: what an application does with an unchanged CometD client, step by step.
// Prints one JSON object with what each step saw; the test that runs it judges.
import { Inbox, call, client, disconnect, handshake, load, must, publish, story, subscribe, tell, unsubscribe } from "./lib.mjs";

const [url, transport, version] = process.argv.slice(2);

await story(async () => {
  const library = await load(version);
  const alice = client(library, url, transport);
  const bob = client(library, url, transport);
  const seen = { version: library.exact };

  const welcome = await handshake(alice);
  await handshake(bob);
  seen.transport = alice.getTransport().type;
  seen.clientIdsDiffer = alice.getClientId() !== bob.getClientId();
  seen.supported = welcome.supportedConnectionTypes;

  const exact = new Inbox(), star = new Inbox(), doubleStar = new Inbox();
  const data = (inbox) => (message) => inbox.push(message.data);
  const handle = await subscribe(bob, "/room/blue", data(exact));
  await subscribe(bob, "/room/*", data(star));
  await subscribe(bob, "/room/**", data(doubleStar));

  const odd = { text: "grüße ☃ \u2028 \"quoted\" \\", number: 1e21, nested: { list: [1, null, [], {}] }, n: 0 };
  seen.publishReply = must(await publish(alice, "/room/blue", odd));
  seen.exact = await exact.atLeast(1, "messages on /room/blue");
  seen.unchanged = JSON.stringify(seen.exact[0]) === JSON.stringify(odd);
  must(await publish(alice, "/room/red", { n: 1 }));
  must(await publish(alice, "/room/blue/corner", { n: 2 }));
  await doubleStar.atLeast(3, "messages under /room/**");
  await star.atLeast(2, "messages under /room/*");
  seen.exact = exact.items.map(({ n }) => n);
  seen.star = star.items.map(({ n }) => n);
  seen.doubleStar = doubleStar.items.map(({ n }) => n);

  // A batch is one request; its messages arrive in order.
  const many = new Inbox();
  await subscribe(bob, "/batch", data(many));
  const replies = [];
  alice.batch(() => {
    for (let n = 0; n < 50; n++) alice.publish("/batch", { n }, (reply) => replies.push(reply.successful));
  });
  seen.batch = (await many.atLeast(50, "batched messages")).map(({ n }) => n);
  // The answer to a message sent later comes after the answers to the batch.
  must(await publish(alice, "/batch", { n: 50 }));
  seen.batchReplies = replies;

  // After unsubscribing, the exact listener is silent; the wildcards still hear.
  must(await unsubscribe(bob, handle));
  must(await publish(alice, "/room/blue", { n: 3 }));
  await star.atLeast(3, "messages under /room/*");
  await doubleStar.atLeast(4, "messages under /room/**");
  seen.exactAfterUnsubscribe = exact.items.length;

  const asked = { question: "six times seven?", number: 42 };
  seen.call = await call(alice, "echo", asked);
  seen.callUnchanged = JSON.stringify(seen.call.data) === JSON.stringify(asked);
  seen.nullCall = await call(alice, "echo", null);
  seen.calls = await Promise.all(Array.from({ length: 20 }, (_, n) => call(alice, "echo", { n }).then((m) => m.data?.n)));

  const statuses = await Promise.all([disconnect(alice), disconnect(bob)]);
  seen.disconnected = statuses.every((reply) => reply.successful) && alice.isDisconnected();
  tell(seen);
});
