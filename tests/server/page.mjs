// The web page in headless Chromium, against a running server.
//
//     node page.mjs ADDRESS RECORDING [ADDRESS_WITH_KEY KEY]
//
// RECORDING is a wav of a few seconds of speech. playwright-core is looked for in the current folder's
// node_modules, Chromium at $CHROMIUM or /usr/bin/chromium. Ends with 1 at the first check that fails.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

const require = createRequire(path.join(process.cwd(), 'any.js'));
const { chromium } = require('playwright-core');
const [address, recording, keyedAddress, key] = process.argv.slice(2);
const speech = fs.readFileSync(recording);
const PATIENCE_MS = 60_000;

/** What the server itself answers for the recording, without the page. */
async function answer(format, task = 'transcriptions') {
  const form = new FormData();
  form.set('response_format', format);
  form.set('file', new Blob([speech]), 'speech.wav');
  const response = await fetch(`${address}/v1/audio/${task}`, { method: 'POST', body: form });
  assert.equal(response.status, 200, `${task} as ${format}`);
  return format.includes('json') ? response.json() : response.text();
}

/** The same sound many times over: a wav whose `data` chunk is repeated. */
function longWav(times) {
  const at = speech.indexOf('data') + 4;
  const [head, data] = [Buffer.from(speech.subarray(0, at + 4)), speech.subarray(at + 4, at + 4 + speech.readUInt32LE(at))];
  head.writeUInt32LE(data.length * times, at);
  head.writeUInt32LE(head.length - 8 + data.length * times, 4);
  return Buffer.concat([head, ...Array(times).fill(data)]);
}

const wav = (name, buffer = speech) => ({ name, mimeType: 'audio/wav', buffer });

/** The list item of a file, once it is in a state. */
async function job(page, name, state) {
  const item = page.locator('.job', { hasText: name });
  await page.locator(`.job[data-state=${state}]`, { hasText: name }).waitFor({ timeout: PATIENCE_MS });
  return item;
}

async function saved(page, item, extension) {
  const waiting = page.waitForEvent('download');
  await item.getByRole('button', { name: extension, exact: true }).click();
  const download = await waiting;
  return { name: download.suggestedFilename(), text: fs.readFileSync(await download.path(), 'utf8') };
}

/** Drops files as a hand would, with all three events. */
async function drop(page, files) {
  const transfer = await page.evaluateHandle((dropped) => {
    const data = new DataTransfer();
    for (const { name, mimeType, bytes } of dropped) {
      data.items.add(new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], name, { type: mimeType }));
    }
    return data;
  }, files.map(({ buffer, ...rest }) => ({ ...rest, bytes: buffer.toString('base64') })));
  for (const kind of ['dragenter', 'dragover', 'drop']) await page.dispatchEvent('#drop', kind, { dataTransfer: transfer });
}

const segmentTexts = async (item) => (await item.locator('.segment .text').allTextContents()).map((text) => text.trim());

const checks = {
  async 'the page loads from the server alone, under a strict policy'(page) {
    const foreign = [];
    page.on('request', (request) => {
      if (!request.url().startsWith(address) && !request.url().startsWith('blob:')) foreign.push(request.url());
    });
    const response = await page.goto(address);
    const policy = response.headers()['content-security-policy'] ?? '';
    assert.match(policy, /default-src 'self'/);
    assert.doesNotMatch(policy, /unsafe|\*/);
    await page.waitForFunction(() => document.querySelector('#model').options.length > 0);
    const { data } = await (await fetch(`${address}/v1/models`)).json();
    assert.deepEqual(await page.locator('#model option').allTextContents(), data.map(({ id }) => id));
    assert.equal(await page.locator('#language option').count(), 101);
    assert.deepEqual(foreign, []);
  },

  async 'every control has a name'(page) {
    for (const [role, name] of [
      ['radio', 'Transcribe'], ['radio', 'Translate into English'], ['combobox', 'Language spoken'], ['combobox', 'Model'],
      ['textbox', /^Prompt/], ['checkbox', 'Times for every word'], ['button', 'Choose files'], ['button', 'Record'],
    ]) assert.equal(await page.getByRole(role, { name }).count(), 1, `${role} ${name}`);
    const unnamed = await page.locator('button:visible, select:visible, input:visible').evaluateAll((controls) => controls
      .filter((control) => !control.textContent.trim() && !control.labels?.length && !control.ariaLabel)
      .map((control) => control.outerHTML));
    assert.deepEqual(unnamed, []);
  },

  async 'a dropped file is transcribed, as the server answers without the page'(page) {
    await drop(page, [wav('dropped.wav')]);
    const item = await job(page, 'dropped.wav', 'done');
    const { segments } = await answer('verbose_json');
    assert.ok(segments.length > 0, 'the recording has no speech');
    assert.deepEqual(await segmentTexts(item), segments.map(({ text }) => text.trim()));
  },

  async 'what is saved is what the server writes'(page) {
    const item = await job(page, 'dropped.wav', 'done');
    for (const extension of ['srt', 'vtt']) {
      const { name, text } = await saved(page, item, extension);
      assert.equal(name, `dropped.${extension}`);
      assert.equal(text, await answer(extension));
    }
    const { segments, text } = await answer('verbose_json');
    assert.equal((await saved(page, item, 'txt')).text, segments.map((s) => `${s.text.trim()}\n`).join(''));
    const json = JSON.parse((await saved(page, item, 'json')).text);
    assert.equal(json.text.trim(), text.trim());
    assert.deepEqual(json.segments, segments.map(({ id, start, end, text: t }) => ({ id, start, end, text: t })));
  },

  async 'a click plays from a segment'(page) {
    const item = await job(page, 'dropped.wav', 'done');
    await item.locator('.segment').last().click();
    const start = Number(await item.locator('.segment').last().getAttribute('data-start'));
    await page.waitForFunction((from) => [...document.querySelectorAll('audio')].some((a) => !a.paused && a.currentTime >= from), start);
    await item.locator('audio').evaluate((audio) => audio.pause());
  },

  async 'word times come along where they are asked for'(page) {
    await page.getByLabel('Times for every word').check();
    await page.setInputFiles('#files', [wav('worded.wav')]);
    const item = await job(page, 'worded.wav', 'done');
    const { segments } = JSON.parse((await saved(page, item, 'json')).text);
    for (const segment of segments) {
      assert.equal(segment.words.map(({ word }) => word.trim()).join(''), segment.text.replaceAll(/\s/g, ''));
      for (const { start, end } of segment.words) assert.ok(start <= end, `${start} ${end}`);
    }
    assert.equal(await item.locator('.word').count(), segments.flatMap(({ words }) => words).length);
    await page.getByLabel('Times for every word').uncheck();
  },

  async 'the keyboard alone is enough'(page) {
    await page.locator('#transcribe').focus();
    await page.keyboard.press('ArrowRight');
    assert.ok(await page.locator('#translate').isChecked());
    const chooser = page.waitForEvent('filechooser');
    for (let i = 0; i < 12 && await page.evaluate(() => document.activeElement.id) !== 'choose'; i += 1) await page.keyboard.press('Tab');
    const outline = await page.locator('#choose').evaluate((button) => getComputedStyle(button).outlineStyle);
    assert.equal(outline, 'solid', 'the focus cannot be seen');
    await page.keyboard.press('Enter');
    await (await chooser).setFiles([wav('translated.wav')]);
    const item = await job(page, 'translated.wav', 'done');
    const { segments } = await answer('verbose_json', 'translations');
    assert.deepEqual(await segmentTexts(item), segments.map(({ text }) => text.trim()));
    await item.locator('.segment').first().focus();
    await page.keyboard.press('End');
    assert.ok(await item.locator('.segment').last().evaluate((last) => last === document.activeElement && last.tabIndex === 0));
    assert.equal(await item.locator('.segment[tabindex="0"]').count(), 1);
    await page.keyboard.press('Enter');
    await page.waitForFunction(() => [...document.querySelectorAll('audio')].some((audio) => !audio.paused));
    await item.locator('audio').evaluate((audio) => audio.pause());
    await page.getByText('Transcribe', { exact: true }).click();
    assert.ok(await page.locator('#transcribe').isChecked());
  },

  async 'what is no audio is said to be none, and can be removed'(page) {
    await page.setInputFiles('#files', [wav('letter.wav', Buffer.from('Dear reader, this is text.'))]);
    const item = await job(page, 'letter.wav', 'failed');
    assert.match(await item.getByRole('alert').textContent(), /Invalid or unsupported audio file/);
    await item.getByRole('button', { name: /^Remove/ }).click();
    assert.equal(await page.locator('.job', { hasText: 'letter.wav' }).count(), 0);
  },

  async 'segments show while more are found; cancelling stops, trying again starts anew'(page) {
    const seconds = (speech.length - 44) / speech.readUInt32LE(28);
    await page.setInputFiles('#files', [wav('long.wav', longWav(Math.ceil(240 / seconds)))]);
    const item = await job(page, 'long.wav', 'working');
    await item.locator('.segment').first().waitFor({ timeout: PATIENCE_MS });
    assert.equal(await item.getAttribute('data-state'), 'working', 'it was done before a segment was shown');
    await item.getByRole('button', { name: /^Cancel/ }).click();
    await job(page, 'long.wav', 'cancelled');
    await item.getByRole('button', { name: /^Try again/ }).click();
    await job(page, 'long.wav', 'working');
    await item.getByRole('button', { name: /^Cancel/ }).click();
    await job(page, 'long.wav', 'cancelled');
  },

  async 'several files wait their turn'(page) {
    const names = ['one.wav', 'two.wav', 'three.wav', 'four.wav'];
    await page.setInputFiles('#files', names.map((name) => wav(name)));
    assert.equal(await page.locator('.job[data-state=waiting]').count(), 2);
    const want = await segmentTexts(await job(page, 'dropped.wav', 'done'));
    for (const name of names) assert.deepEqual(await segmentTexts(await job(page, name, 'done')), want);
  },

  async 'the microphone is recorded'(page) {
    await page.getByRole('button', { name: 'Record' }).click();
    await page.waitForTimeout(3500);
    await page.getByRole('button', { name: 'Stop and transcribe' }).click();
    const item = await job(page, 'recording', 'done');
    assert.ok((await segmentTexts(item)).join('').length > 0, 'nothing was heard in the recording');
  },
};

const keyChecks = {
  async 'a server with keys asks for one, refuses a wrong one, keeps the right one'(page) {
    await page.goto(keyedAddress);
    await page.locator('#key-form').waitFor();
    await page.setInputFiles('#files', [wav('early.wav')]);
    await page.getByLabel('This server asks for a key').fill('no such key');
    await page.keyboard.press('Enter');
    await page.getByText('The key that was given is not accepted.').waitFor();
    assert.equal(await page.locator('.job[data-state=done]').count(), 0);
    await page.getByLabel('This server asks for a key').fill(key);
    await page.keyboard.press('Enter');
    await job(page, 'early.wav', 'done');
    await page.reload();
    await page.waitForFunction(() => document.querySelector('#model').options.length > 0);
    assert.ok(await page.locator('#key-form').isHidden());
    await page.getByRole('button', { name: 'Forget the key' }).click();
    await page.locator('#key-form').waitFor();
    assert.equal(await page.evaluate(() => sessionStorage.getItem('key')), null);
  },
};

async function run(browser, all, schemes) {
  const page = await browser.newPage({ colorScheme: schemes });
  const wrong = [];
  page.on('pageerror', (error) => wrong.push(error.message));
  page.on('console', (message) => message.text().includes('Content Security Policy') && wrong.push(message.text()));
  for (const [what, check] of Object.entries(all)) {
    const started = Date.now();
    try {
      await check(page);
      assert.deepEqual(wrong, [], 'errors in the page');
    } catch (error) {
      console.log(`FAILED  ${what}\n${error.stack}`);
      process.exitCode = 1;
      return;
    }
    console.log(`ok      ${what} (${Date.now() - started} ms)`);
  }
  await page.close();
}

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream', `--use-file-for-fake-audio-capture=${recording}`],
});
await run(browser, checks, 'light');
if (keyedAddress && !process.exitCode) await run(browser, keyChecks, 'dark');
await browser.close();
