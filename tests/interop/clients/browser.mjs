// A person at a real browser: Chromium logs in, chooses rights on the consent page, and answers.
// As a module for the scripts here; as a program for scripts in other languages, with one JSON argument:
//   browser.mjs {"person": P, "invite": {"issuer": URL, "code": TEXT}}
//   browser.mjs {"person": P, "ask": {"url": URL, "callback": URL, "rights": [SCOPE..]}}
// P is {"name": TEXT, "password": TEXT}. Prints what was seen as one JSON line; exit 0 when it went well.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { CHROMIUM } from './chromium.mjs';

const WITHIN_MS = 20_000;

export class Person {
  // With a new browser, in which nobody ever logged in.
  static async sitDown({ name, password }) {
    const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'attorn-browser-'));
    const context = await chromium.launchPersistentContext(profile, CHROMIUM);
    context.setDefaultTimeout(WITHIN_MS);
    return new Person({ name, password, profile, context });
  }

  constructor(parts) {
    Object.assign(this, parts);
    // What the browser itself objected to, such as a form that our own policy does not let go.
    this.objections = [];
  }

  async getUp() {
    await this.context.close();
    fs.rmSync(this.profile, { recursive: true, force: true, maxRetries: 5 });
  }

  // Uses the one-time code of an invitation and leaves the new session.
  async acceptInvitation({ issuer, code }) {
    const page = await this.open(`${issuer}/invite`);
    await page.fill('#code', code);
    await page.fill('#password', this.password);
    await page.fill('#again', this.password);
    await page.click('button[type=submit]');
    await page.waitForURL((url) => url.pathname !== '/invite').catch(() => this.fail(page));
    await page.close();
    await this.context.clearCookies();
  }

  // Opens what an application sent the person to, and answers: with exactly these rights, or with no.
  // `callback` is where the browser ends: the beginning of an address, or a test of one. Gives where it
  // ended and what the person saw on the way.
  async answer({ url, callback, rights }) {
    const page = await this.open(url);
    const seen = { logged_in: false };
    if (isAt(page, '/login')) {
      await this.logIn(page);
      seen.logged_in = true;
    }
    if (isAt(page, '/consent')) Object.assign(seen, await this.decide(page, rights));
    const isBack = typeof callback === 'function' ? callback : (at) => at.href.startsWith(callback);
    await page.waitForURL(isBack).catch(() => this.fail(page));
    if (this.objections.length > 0) throw new Error(`the browser: ${this.objections.join('; ')}`);
    seen.url = page.url();
    await page.close();
    return seen;
  }

  async logIn(page) {
    await page.fill('#name', this.name);
    await page.fill('#password', this.password);
    // There may be another button, for passkeys.
    await page.click('button.primary');
    await page.waitForURL((url) => url.pathname !== '/login').catch(() => this.fail(page));
  }

  async decide(page, rights) {
    const boxes = await page.locator('input[type=checkbox]').all();
    const offered = await Promise.all(boxes.map((box) => box.getAttribute('value')));
    const marked = await Promise.all(boxes.map((box) => box.isChecked()));
    const missing = (rights ?? []).filter((right) => !offered.includes(right));
    if (missing.length > 0) throw new Error(`not offered: ${missing}; only ${offered}`);
    for (const [place, box] of boxes.entries()) {
      await box.setChecked((rights ?? []).includes(offered[place]));
    }
    const seen = {
      offered,
      marked: offered.filter((_, place) => marked[place]),
      fresh: await page.locator('label:has(.new) code').allTextContents(),
      text: await page.locator('main').innerText(),
    };
    await page.click(`button[value=${rights ? 'allow' : 'deny'}]`);
    return seen;
  }

  async open(url) {
    const page = await this.context.newPage();
    page.on('console', (message) => {
      if (message.type() === 'error') this.objections.push(message.text());
    });
    await page.goto(url);
    return page;
  }

  async fail(page) {
    const text = await page.locator('body').innerText().catch(() => '');
    const objections = this.objections.join('; ');
    throw new Error(`the person is stuck at ${page.url()}: ${text} ${objections}`);
  }
}

// Endpoints may stand below a path of the issuer.
function isAt(page, ending) {
  return new URL(page.url()).pathname.endsWith(ending);
}

async function main({ person, invite, ask }) {
  const sitting = await Person.sitDown(person);
  try {
    if (invite) await sitting.acceptInvitation(invite);
    return ask ? await sitting.answer(ask) : {};
  } finally {
    await sitting.getUp();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    console.log(JSON.stringify({ ok: true, ...(await main(JSON.parse(process.argv[2]))) }));
  } catch (error) {
    console.log(JSON.stringify({ ok: false, error: `${error.name}: ${error.message}` }));
    process.exitCode = 1;
  }
}
