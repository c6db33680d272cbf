// The page of `undertone serve`: files in, segments out as the server finds them.
//
// Everything comes from this server and goes to it; nothing but its key outlives a reload, and that only in this tab.

/** Files that are sent side by side; the server works on their windows together. */
const AT_ONCE = 2;
/** Seconds between two reports to a screen reader on how far a file is. */
const REPORT_EVERY_S = 10;

const jobs = [];
const byId = (id) => document.getElementById(id);

// ---- Times and files

/** `1:02:03`, or `2:03` below an hour. */
function clock(seconds) {
  const whole = Math.floor(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (number) => String(number).padStart(2, '0');
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

/** A cue's time: srt always has hours and a comma, vtt hours where there are any and a point. */
function stamp(seconds, alwaysHours, mark) {
  const ms = Math.round(seconds * 1000);
  const digits = (value, width) => String(value).padStart(width, '0');
  const hours = Math.floor(ms / 3_600_000);
  const front = hours || alwaysHours ? `${digits(hours, 2)}:` : '';
  const [minutes, whole] = [Math.floor(ms / 60_000) % 60, Math.floor(ms / 1000) % 60];
  return `${front}${digits(minutes, 2)}:${digits(whole, 2)}${mark}${digits(ms % 1000, 3)}`;
}

/** A cue's text must not hold what separates its times. */
const cueText = (segment) => segment.text.trim().replaceAll('-->', '->');
const escaped = (text) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
const plainText = ({ segments }) => segments.map((segment) => `${segment.text.trim()}\n`).join('');

function srt({ segments }) {
  const time = (seconds) => stamp(seconds, true, ',');
  const cue = (segment, i) => `${i + 1}\n${time(segment.start)} --> ${time(segment.end)}\n${cueText(segment)}\n\n`;
  return segments.map(cue).join('');
}

function vtt({ segments }) {
  const time = (seconds) => stamp(seconds, false, '.');
  const cue = (segment) => `${time(segment.start)} --> ${time(segment.end)}\n${escaped(cueText(segment))}\n\n`;
  return `WEBVTT\n\n${segments.map(cue).join('')}`;
}

function json({ segments, wanted }) {
  const { task, model, language } = wanted;
  const known = { task: task === 'translations' ? 'translate' : 'transcribe', model, ...(language && { language }) };
  const text = segments.map((segment) => segment.text).join('');
  return `${JSON.stringify({ ...known, text, segments }, null, 2)}\n`;
}

const WRITERS = { txt: plainText, srt, vtt, json };

function save(job, extension) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([WRITERS[extension](job)]));
  link.download = `${job.file.name.replace(/\.[^.]+$/, '')}.${extension}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// ---- The server

class KeyNeeded extends Error {}

async function ask(path, request = {}) {
  const key = sessionStorage.getItem('key');
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const answer = await fetch(path, { ...request, headers }).catch((error) => {
    throw error.name === 'AbortError' ? error : new Error('The server does not answer.');
  });
  if (answer.status === 401) throw new KeyNeeded();
  return answer;
}

/** What an answer that is no success says, whichever shape the body has. */
async function complaint(answer) {
  const body = await answer.json().catch(() => ({}));
  return body.error?.message ?? body.detail ?? body.error ?? `The server answers ${answer.status} ${answer.statusText}`.trim();
}

/** The messages of an event stream; one that ends without saying so was cut off. */
async function* messages(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Error('The answer broke off before its end.');
    const parts = (held + value).split('\n\n');
    held = parts.pop();
    for (const part of parts) {
      const data = part.replace(/^data: ?/, '');
      if (data === '[DONE]') return;
      yield JSON.parse(data);
    }
  }
}

function form({ file, wanted }) {
  const fields = new FormData();
  const given = Object.entries({ model: wanted.model, language: wanted.language, prompt: wanted.prompt });
  for (const [name, value] of given) if (value) fields.set(name, value);
  if (wanted.words) fields.set('timestamp_granularities[]', 'word');
  fields.set('stream', 'true');
  fields.set('stream_segments', 'true');
  fields.set('file', file);
  return fields;
}

/** Seconds after which a server that is busy wants to be asked again, if it is. */
function busyFor(answer) {
  return answer.status === 503 && Number(answer.headers.get('Retry-After'));
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    setTimeout(resolve, seconds * 1000);
    signal.addEventListener('abort', () => reject(signal.reason));
  });
}

async function answerFor(job, signal) {
  for (;;) {
    const answer = await ask(`/v1/audio/${job.wanted.task}`, { method: 'POST', body: form(job), signal });
    if (answer.ok) return answer;
    const wait = busyFor(answer);
    if (!wait) throw new Error(await complaint(answer));
    show(job, 'working', `server busy, again in ${wait} s`);
    await pause(wait, signal);
  }
}

async function transcribe(job, signal) {
  const started = performance.now();
  const answer = await answerFor(job, signal);
  for await (const message of messages(answer)) {
    if (message.error) throw new Error(message.error.message ?? message.error);
    if (message.segment) take(job, message.segment);
    else if (message.delta && !job.segments.length) throw new Error('This server sends text without times.');
  }
  return (performance.now() - started) / 1000;
}

// ---- The queue

let locked = false;

/** Field by field what is sent; a box that is not ticked, or cannot be, is missing. */
const currentSettings = () => Object.fromEntries(new FormData(byId('settings')));

function add(files) {
  for (const file of files) {
    const job = { file, wanted: currentSettings(), segments: [], state: 'waiting' };
    build(job);
    jobs.push(job);
    show(job, 'waiting', 'waiting');
  }
  next();
}

/** Starts what waits, as far as there is room. */
function next() {
  const working = jobs.filter((job) => job.state === 'working').length;
  const waiting = jobs.filter((job) => job.state === 'waiting');
  if (!locked) waiting.slice(0, Math.max(0, AT_ONCE - working)).forEach(work);
}

async function work(job) {
  job.controller = new AbortController();
  job.reportedAt = performance.now();
  show(job, 'working', 'listening');
  announce(`Listening to ${job.file.name}`);
  try {
    const seconds = await transcribe(job, job.controller.signal);
    show(job, 'done', job.segments.length ? `done in ${seconds.toFixed(1)} s` : 'no speech found');
    announce(`${job.file.name} is done: ${job.segments.length} segments`);
  } catch (error) {
    if (error instanceof KeyNeeded) return lock(job);
    if (job.controller.signal.aborted) show(job, 'cancelled', 'cancelled');
    else fail(job, error instanceof TypeError ? 'The connection broke off.' : error.message);
  }
  next();
}

function fail(job, message) {
  show(job, 'failed', 'failed');
  job.part('.error').textContent = message;
  job.part('.error').hidden = false;
}

function cancel(job) {
  if (job.state === 'waiting') show(job, 'cancelled', 'cancelled');
  else job.controller.abort();
}

/** Anew, with the settings as they are now. */
function again(job) {
  Object.assign(job, { wanted: currentSettings(), segments: [] });
  job.part('.segments').replaceChildren();
  job.part('.error').hidden = true;
  show(job, 'waiting', 'waiting');
  next();
}

function remove(job) {
  const following = job.element.nextElementSibling ?? job.element.previousElementSibling;
  URL.revokeObjectURL(job.url);
  job.element.remove();
  jobs.splice(jobs.indexOf(job), 1);
  (following?.querySelector('.remove:not([hidden]), .cancel:not([hidden])') ?? byId('choose')).focus();
}

// ---- One file on the page

const announce = (text) => { byId('status').textContent = text; };

function build(job) {
  job.element = byId('job').content.firstElementChild.cloneNode(true);
  job.part = (selector) => job.element.querySelector(selector);
  const { name } = job.file;
  job.part('.name').textContent = name;
  job.part('progress').setAttribute('aria-label', `Progress of ${name}`);
  job.part('.segments').setAttribute('aria-label', `Segments of ${name}`);
  job.part('.saves').setAttribute('aria-label', `Save the transcript of ${name}`);
  for (const [selector, act] of [['.cancel', cancel], ['.again', again], ['.remove', remove]]) {
    job.part(selector).setAttribute('aria-label', `${job.part(selector).textContent}: ${name}`);
    job.part(selector).addEventListener('click', () => act(job));
  }
  job.part('.saves').addEventListener('click', ({ target }) => target.dataset.save && save(job, target.dataset.save));
  job.part('.copy').addEventListener('click', () => copy(job));
  job.part('.copy').hidden = !navigator.clipboard;
  job.part('.segments').addEventListener('click', (event) => playFrom(job, event));
  job.part('.segments').addEventListener('keydown', moveBetweenSegments);
  job.part('.player').append(player(job));
  byId('jobs').append(job.element);
}

function player(job) {
  const media = document.createElement(job.file.type.startsWith('video/') ? 'video' : 'audio');
  job.url = URL.createObjectURL(job.file);
  job.media = media;
  Object.assign(media, { controls: true, preload: 'metadata', src: job.url });
  media.setAttribute('aria-label', job.file.name);
  media.addEventListener('timeupdate', () => follow(job));
  media.addEventListener('play', () => jobs.forEach((other) => other !== job && other.media.pause()));
  // Browsers play fewer formats than the server reads: then there is a transcript and no player.
  media.addEventListener('error', () => job.part('.player').replaceChildren());
  return media;
}

function show(job, state, words) {
  const open = state === 'waiting' || state === 'working';
  job.state = state;
  job.element.dataset.state = state;
  job.part('.state').textContent = words;
  job.part('progress').hidden = state !== 'working';
  job.part('.cancel').hidden = !open;
  job.part('.again').hidden = open || state === 'done';
  job.part('.remove').hidden = open;
  job.part('.saves').hidden = !job.segments.length || state !== 'done';
  job.part('.keys').hidden = !job.segments.length;
}

/** A segment that has just been found. */
function take(job, segment) {
  job.segments.push(segment);
  const item = document.createElement('li');
  item.append(segmentButton(segment, job.segments.length === 1));
  job.part('.segments').append(item);
  const { duration } = job.media;
  const known = Number.isFinite(duration);
  if (known) Object.assign(job.part('progress'), { max: duration, value: Math.min(segment.end, duration) });
  show(job, 'working', known ? `${clock(Math.min(segment.end, duration))} of ${clock(duration)}` : clock(segment.end));
  if (performance.now() - job.reportedAt > REPORT_EVERY_S * 1000) {
    job.reportedAt = performance.now();
    announce(`${job.file.name}: ${job.part('.state').textContent}`);
  }
}

/** Only the first is in the tab order; arrows move on from there. */
function segmentButton(segment, first) {
  const button = document.createElement('button');
  Object.assign(button, { type: 'button', className: 'segment', tabIndex: first ? 0 : -1 });
  button.dataset.start = segment.start;
  const time = Object.assign(document.createElement('time'), { textContent: clock(segment.start) });
  time.dateTime = `PT${segment.start.toFixed(2)}S`;
  const text = Object.assign(document.createElement('span'), { className: 'text' });
  text.append(...wordSpans(segment));
  button.append(time, ' ', text);
  return button;
}

/** The text, with each word that has a time in a span of its own. */
function wordSpans({ text, words = [] }) {
  const parts = [];
  let at = 0;
  for (const { word, start } of words) {
    const spoken = word.trim();
    const found = text.indexOf(spoken, at);
    if (!spoken || found < 0) continue;
    const span = Object.assign(document.createElement('span'), { className: 'word', textContent: spoken });
    span.dataset.start = start;
    parts.push(text.slice(at, found), span);
    at = found + spoken.length;
  }
  parts.push(text.slice(at));
  parts[0] = parts[0].trimStart();
  return parts;
}

async function copy(job) {
  await navigator.clipboard.writeText(plainText(job));
  announce('Copied');
  job.part('.copy').textContent = 'Copied';
  setTimeout(() => { job.part('.copy').textContent = 'Copy text'; }, 2000);
}

// ---- Playing and moving

function playFrom(job, event) {
  const timed = event.target.closest('[data-start]');
  if (!timed || !job.part('.player').firstChild) return;
  makeReachable(timed.closest('.segment'));
  job.media.currentTime = Number(timed.dataset.start);
  // Refused only where the browser cannot play the file, and then the player is gone.
  job.media.play().catch(() => {});
}

/** Marks the segment, and the word, that is being heard. */
function follow(job) {
  const now = job.media.currentTime;
  const latest = (list) => [...list].findLast((timed) => Number(timed.dataset.start) <= now);
  const current = latest(job.element.querySelectorAll('.segment'));
  const word = current && latest(current.querySelectorAll('.word'));
  const marked = job.part('.segment[aria-current]');
  if (marked !== current) {
    marked?.removeAttribute('aria-current');
    current?.setAttribute('aria-current', 'true');
  }
  job.part('.word.now')?.classList.remove('now');
  word?.classList.add('now');
}

function makeReachable(segment) {
  const list = segment.closest('.segments');
  list.querySelector('[tabindex="0"]').tabIndex = -1;
  segment.tabIndex = 0;
}

function moveBetweenSegments(event) {
  const buttons = [...event.currentTarget.querySelectorAll('.segment')];
  const at = buttons.indexOf(document.activeElement);
  const targets = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 };
  const target = buttons[targets[event.key]];
  if (!target) return;
  event.preventDefault();
  makeReachable(target);
  target.focus();
}

// ---- The key

function lock(job) {
  if (job) show(job, 'waiting', 'waiting for the key');
  locked = true;
  byId('key-hint').textContent = sessionStorage.getItem('key')
    ? 'The key that was given is not accepted.'
    : 'It stays in this tab and is forgotten when the tab is closed.';
  byId('key-form').hidden = false;
  byId('forget-key').hidden = true;
  byId('key').focus();
}

function useKey(event) {
  event.preventDefault();
  sessionStorage.setItem('key', byId('key').value.trim());
  byId('key-form').reset();
  loadModels();
}

function forgetKey() {
  sessionStorage.removeItem('key');
  byId('forget-key').hidden = true;
  loadModels();
}

async function loadModels() {
  try {
    const answer = await ask('/v1/models');
    if (!answer.ok) throw new Error(await complaint(answer));
    const { data } = await answer.json();
    byId('model').replaceChildren(...data.map(({ id }) => new Option(id, id)));
    byId('server-error').hidden = true;
  } catch (error) {
    if (error instanceof KeyNeeded) return lock();
    byId('server-error').textContent = error.message;
    byId('server-error').hidden = false;
    return;
  }
  locked = false;
  byId('key-form').hidden = true;
  byId('forget-key').hidden = !sessionStorage.getItem('key');
  next();
}

// ---- Recording

let recorder;

function recorded(parts, type) {
  const extension = ['mp4', 'ogg', 'webm'].find((name) => type.includes(name)) ?? 'webm';
  const when = new Date().toLocaleTimeString('en-GB').replaceAll(':', '.');
  return new File(parts, `recording ${when}.${extension}`, { type });
}

async function record() {
  if (recorder) return recorder.stop();
  const hint = byId('record-hint');
  let microphone;
  try {
    microphone = await navigator.mediaDevices.getUserMedia({ audio: true });
  } catch (error) {
    hint.textContent = `No microphone to record from: ${error.message}`;
    return;
  }
  const parts = [];
  recorder = new MediaRecorder(microphone);
  const started = performance.now();
  const timer = setInterval(() => { hint.textContent = `${clock((performance.now() - started) / 1000)} recorded`; }, 500);
  recorder.addEventListener('dataavailable', ({ data }) => parts.push(data));
  recorder.addEventListener('stop', () => {
    clearInterval(timer);
    microphone.getTracks().forEach((track) => track.stop());
    const { mimeType, discarded } = recorder;
    recorder = undefined;
    showRecording(false);
    if (!discarded) add([recorded(parts, mimeType)]);
  });
  recorder.start();
  showRecording(true);
}

function showRecording(on) {
  byId('record').textContent = on ? 'Stop and transcribe' : 'Record';
  byId('record').classList.toggle('recording', on);
  byId('discard').hidden = !on;
  byId('record-hint').textContent = on ? '0:00 recorded' : 'Audio or video. Files go to this server and nowhere else.';
  announce(on ? 'Recording' : 'Recording stopped');
}

function discard() {
  recorder.discarded = true;
  recorder.stop();
  byId('record').focus();
}

// ---- Wiring

function dropping() {
  const drop = byId('drop');
  const isFiles = (event) => event.dataTransfer?.types.includes('Files');
  const mark = (on) => (event) => {
    if (!isFiles(event)) return;
    event.preventDefault();
    drop.classList.toggle('over', on);
  };
  document.addEventListener('dragover', mark(true));
  document.addEventListener('dragleave', (event) => event.relatedTarget || drop.classList.remove('over'));
  document.addEventListener('drop', (event) => {
    mark(false)(event);
    if (isFiles(event)) add(event.dataTransfer.files);
  });
}

function wire() {
  byId('settings').addEventListener('submit', (event) => event.preventDefault());
  byId('settings').addEventListener('change', () => { byId('words').disabled = byId('translate').checked; });
  byId('key-form').addEventListener('submit', useKey);
  byId('forget-key').addEventListener('click', forgetKey);
  byId('choose').addEventListener('click', () => byId('files').click());
  byId('files').addEventListener('change', ({ target }) => {
    add(target.files);
    target.value = '';
  });
  byId('record').addEventListener('click', record);
  byId('discard').addEventListener('click', discard);
  if (!navigator.mediaDevices || !window.MediaRecorder) {
    byId('record').disabled = true;
    byId('record-hint').textContent = 'Recording needs https, or this machine’s own address. Files go to this server and nowhere else.';
  }
  dropping();
  loadModels();
}

wire();
