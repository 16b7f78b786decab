// The demo page: what it shows, from what the gateway sends.

import { Bayeux, Refused } from './bayeux.js';

const KEPT_TICKS = 120;
const KEPT_CALLS = 100;
const KEPT_LINES = 200;
const KEPT_BUBBLES = 100;

const $ = (id) => document.getElementById(id);
const bayeux = new Bayeux('/cometd');

/** Makes an element: `make('b', { className: 'x' }, 'text', child)`. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function draw(tag, attributes = {}) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** Draws with the screen's next frame, once however often it is asked: what is measured is not held up by drawing. */
function framed(paint) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      paint();
    });
  };
}

const clock = (at = Date.now()) => new Date(at).toLocaleTimeString([], { hour12: false });
const milliseconds = (time) => (time < 10 ? time.toFixed(1) : time.toFixed(0));

// --- the connection

let everConnected = false;
let reconnects = 0;

bayeux.addEventListener('state', ({ detail: { was, state, reason } }) => {
  const text = {
    connected: `connected · ${bayeux.transport}`,
    connecting: `connecting by ${bayeux.transport}…`,
    reconnecting: 'connection lost, coming back…',
    stopped: 'not connected',
  }[state];
  $('state').dataset.state = state;
  $('state').title = reason;
  if ($('state-text').textContent !== text) $('state-text').textContent = text;
  for (const button of document.querySelectorAll('form button')) button.disabled = state !== 'connected';
  if (state !== 'connected' || was === 'connected') return;
  if (everConnected) $('reconnects').textContent = ++reconnects;
  else askSeveral(10); // So that there is something to see.
  everConnected = true;
  $('opened').textContent = milliseconds(bayeux.openedIn);
  const chosen = document.querySelector(`input[name="transport"][value="${bayeux.transport}"]`);
  chosen.checked = true;
});

for (const input of document.querySelectorAll('input[name="transport"]')) {
  input.addEventListener('change', () => bayeux.use([input.value]));
}
addEventListener('pagehide', () => bayeux.stop());
addEventListener('pageshow', (event) => event.persisted && bayeux.start());

// --- figures

let received = 0;
let published = 0;
let recent = [];

bayeux.addEventListener('message', ({ detail: { way, message } }) => {
  if (message.channel.startsWith('/meta/') || message.data === undefined) return;
  if (way === 'out') {
    $('published').textContent = (++published).toLocaleString();
  } else {
    $('received').textContent = (++received).toLocaleString();
    recent.push(performance.now());
  }
});

setInterval(() => {
  const since = performance.now() - 5_000;
  recent = recent.filter((at) => at > since);
  $('rate').textContent = (recent.length / 5).toFixed(1);
}, 500);

// --- the feed

const rows = new Map();

function rowOf(symbol) {
  const known = rows.get(symbol);
  if (known) return known;
  if (rows.size === 0) $('ticks').replaceChildren();
  const row = {
    prices: [],
    price: make('span', { className: 'price' }),
    change: make('td', { className: 'number' }),
    spark: draw('svg', { class: 'spark', viewBox: '0 0 120 34', preserveAspectRatio: 'none', 'aria-hidden': 'true' }),
    line: draw('path'),
    area: draw('path', { class: 'area' }),
  };
  row.spark.append(row.area, row.line);
  const name = make('th', { scope: 'row' }, symbol);
  row.element = make('tr', {}, name, make('td', { className: 'number' }, row.price), row.change, make('td', {}, row.spark));
  rows.set(symbol, row);
  const after = [...rows.keys()].sort().at([...rows.keys()].sort().indexOf(symbol) + 1);
  $('ticks').insertBefore(row.element, after === undefined ? null : rows.get(after).element);
  return row;
}

bayeux.subscribe('/demo/ticks', ({ data }) => {
  if (typeof data?.symbol !== 'string' || !Number.isFinite(data.price)) return;
  const row = rowOf(data.symbol);
  const before = row.prices.at(-1) ?? data.price;
  row.prices = [...row.prices, data.price].slice(-KEPT_TICKS);
  row.price.textContent = data.price.toFixed(2);
  const flash = data.price === before ? '' : data.price > before ? 'flash-up' : 'flash-down';
  row.price.className = 'price';
  if (flash) {
    void row.price.offsetWidth; // Begins the animation anew.
    row.price.classList.add(flash);
  }
  const change = Number(data.change) || 0;
  const direction = change < 0 ? 'down' : 'up';
  row.change.textContent = `${change < 0 ? '▼' : '▲'} ${Math.abs(change).toFixed(2)} %`;
  row.change.className = `number ${direction}`;
  row.spark.setAttribute('class', `spark ${direction}`);
  sketch(row);
});

function sketch({ prices, line, area }) {
  const low = Math.min(...prices);
  const span = Math.max(...prices) - low || 1;
  const step = 120 / Math.max(1, prices.length - 1);
  const points = prices.map((price, at) => `${(at * step).toFixed(1)} ${(31 - ((price - low) / span) * 28).toFixed(1)}`);
  line.setAttribute('d', `M${points.join('L')}`);
  area.setAttribute('d', `M0 34L${points.join('L')}L120 34Z`);
}

// --- the chat

const tab = Math.random().toString(36).slice(2, 8);
const sentAt = new Map();
let numbered = 0;
let leave = () => {};

$('chat-name').value = `guest-${tab.slice(0, 3)}`;

function watch() {
  leave();
  $('chat-problem').textContent = '';
  leave = bayeux.subscribe($('chat-channel').value.trim(), showBubble);
}

function showBubble({ channel, data }) {
  $('chat').querySelector('.hint')?.remove();
  const own = data?.tab === tab;
  const began = sentAt.get(data?.number);
  const written = typeof data?.text === 'string';
  const when = own && began !== undefined ? `back in ${milliseconds(performance.now() - began)} ms` : clock();
  if (own) sentAt.delete(data.number);
  const head = make('header', {}, make('b', {}, written ? String(data.user ?? 'someone') : channel), make('time', {}, when));
  const body = written ? make('span', {}, data.text) : make('code', {}, JSON.stringify(data));
  $('chat').append(make('li', { className: own ? 'bubble own' : 'bubble' }, head, body));
  while ($('chat').children.length > KEPT_BUBBLES) $('chat').firstElementChild.remove();
  $('chat').scrollTop = $('chat').scrollHeight;
}

$('chat-channel').addEventListener('change', watch);
$('chat-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const number = ++numbered;
  const message = { user: $('chat-name').value.trim() || 'someone', text: $('chat-text').value, tab, number };
  sentAt.set(number, performance.now());
  $('chat-text').value = '';
  $('chat-problem').textContent = '';
  try {
    await bayeux.publish($('chat-channel').value.trim(), message);
  } catch (error) {
    sentAt.delete(number);
    $('chat-text').value ||= message.text;
    $('chat-problem').textContent = `Not published: ${error.message}`;
  }
});
bayeux.addEventListener('refused', ({ detail: { channel, error } }) => {
  $('chat-problem').textContent = `No subscription to ${channel}: ${error.message}`;
});
watch();

// --- the service

let trips = [];
let calls = 0;
let shown;

function question() {
  const text = $('call-data').value;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

async function ask(data) {
  const begun = performance.now();
  try {
    const answer = await bayeux.call('/service/echo', data);
    trips = [...trips, performance.now() - begun].slice(-KEPT_CALLS);
    shown = { className: 'answer', textContent: JSON.stringify(answer) };
    calls += 1;
  } catch (error) {
    const details = error instanceof Refused && error.reply.data !== undefined ? JSON.stringify(error.reply.data) : '';
    shown = { className: 'answer failed', textContent: `${error.message} ${details}` };
    throw error;
  } finally {
    showTrips();
  }
}

async function askSeveral(times) {
  $('call-many').disabled = true;
  try {
    for (let left = times; left > 0; left -= 1) await ask(question());
  } catch {
    // The failure is shown where the answer would be.
  }
  $('call-many').disabled = bayeux.state !== 'connected';
}

const showTrips = framed(() => {
  Object.assign($('answer'), shown);
  if (trips.length === 0) return;
  const sorted = [...trips].sort((a, b) => a - b);
  const share = (part) => milliseconds(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))]);
  $('latency').className = '';
  $('latency').textContent = milliseconds(trips.at(-1));
  $('median').textContent = `${share(0.5)} ms`;
  $('slow').textContent = `${share(0.99)} ms`;
  $('calls').textContent = calls.toLocaleString();
  const top = Math.max(sorted.at(-1), 1);
  const step = 300 / Math.max(40, trips.length);
  const bars = trips.map((trip, at) => {
    const height = Math.max(1.5, (trip / top) * 60);
    return draw('rect', { x: (at * step).toFixed(1), y: (64 - height).toFixed(1), width: (step * 0.72).toFixed(2), height: height.toFixed(1), rx: 0.8 });
  });
  $('bars').replaceChildren(...bars);
});

$('call-form').addEventListener('submit', (event) => {
  event.preventDefault();
  ask(question()).catch(() => {});
});
$('call-many').addEventListener('click', () => askSeveral(100));

// --- the wire

let paused = false;
let unwritten = [];

bayeux.addEventListener('message', ({ detail: { way, message } }) => {
  if (paused) return;
  if (message.channel === '/meta/connect' && !$('show-connects').checked) return;
  if (message.channel === '/demo/ticks' && !$('show-ticks').checked) return;
  unwritten = [...unwritten, { way, message, at: clock() }].slice(-KEPT_LINES);
  write();
});

const write = framed(() => {
  const log = $('log');
  const follows = log.scrollHeight - log.scrollTop - log.clientHeight < 30;
  for (const { way, message, at } of unwritten) {
    const { channel, clientId, ...rest } = message;
    const arrow = make('span', { className: way, title: way === 'in' ? 'received' : 'sent' }, way === 'in' ? '←' : '→');
    const body = make('span', { className: 'body' }, JSON.stringify(rest).slice(0, 400));
    const line = make('li', {}, make('time', {}, at), arrow, make('span', {}, channel), body);
    line.className = message.successful === false ? 'failed' : '';
    log.append(line);
  }
  unwritten = [];
  while (log.children.length > KEPT_LINES) log.firstElementChild.remove();
  if (follows) log.scrollTop = log.scrollHeight;
});
$('log-clear').addEventListener('click', () => $('log').replaceChildren());
$('log-pause').addEventListener('click', () => {
  paused = !paused;
  $('log-pause').setAttribute('aria-pressed', String(paused));
});

// --- the terminal

for (const command of [
  `bayeux-gateway subscribe ${location.origin} /demo/chat`,
  `bayeux-gateway publish ${location.origin} /demo/chat '{"user":"terminal","text":"hello"}'`,
  `bayeux-gateway call ${location.origin} /service/echo '{"question":42}'`,
  `bayeux-gateway subscribe --count 5 ${location.origin} /demo/ticks`,
]) {
  const item = make('li', {}, make('code', {}, command));
  if (navigator.clipboard) {
    const copy = make('button', { type: 'button', className: 'plain' }, 'Copy');
    copy.setAttribute('aria-label', `Copy: ${command}`);
    copy.addEventListener('click', async () => {
      await navigator.clipboard.writeText(command);
      copy.textContent = 'Copied';
      setTimeout(() => (copy.textContent = 'Copy'), 1_500);
    });
    item.append(copy);
  }
  $('commands').append(item);
}

bayeux.start();
