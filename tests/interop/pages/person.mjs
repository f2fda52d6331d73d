// Somebody at a browser, by keyboard alone.
import assert from 'node:assert/strict';

import { look } from './look.mjs';

export const PASSWORD = 'correct horse battery staple';

// A person with a browser of their own. Whatever its console says is a fault, and so is a dialog and a
// request to anybody else.
export class Person {
  // `setting` has the issuer, the codes by name, where pictures go, and the origins that may be asked if
  // there are more; `more` is about the browser.
  static async at(name, browser, setting, more = {}) {
    const person = new Person();
    const context = await browser.newContext({ reducedMotion: 'reduce', ...more });
    Object.assign(person, { name, setting, context, page: await context.newPage(), said: [] });
    person.page.setDefaultTimeout(20_000);
    person.page.on('console', (message) => person.said.push(`${message.type()}: ${message.text()}`));
    person.page.on('pageerror', (error) => person.said.push(String(error)));
    person.page.on('dialog', (dialog) => {
      person.said.push(`dialog: ${dialog.message()}`);
      return dialog.dismiss();
    });
    const origins = setting.origins ?? new Set([new URL(setting.issuer).origin]);
    person.page.on('request', (request) => {
      if (!origins.has(new URL(request.url()).origin)) person.said.push(`asked: ${request.url()}`);
    });
    return person;
  }

  get title() {
    return this.page.locator('h1').innerText();
  }

  open(address) {
    return this.page.goto(address.startsWith('http') ? address : `${this.setting.issuer}${address}`);
  }

  look(name) {
    return look(this.page, name, this.setting.pictures);
  }

  // Tab until the control is there, as somebody without a pointer gets to it.
  async reach(selector) {
    const wanted = this.page.locator(selector).first();
    await wanted.waitFor();
    for (let at = 0; at < 200; at += 1) {
      if (await wanted.evaluate((one) => one === document.activeElement)) return;
      await this.page.keyboard.press('Tab');
    }
    throw new Error(`${this.name}: no way to ${selector} by keyboard`);
  }

  async type(selector, text) {
    await this.reach(selector);
    await this.page.keyboard.type(text);
  }

  async press(selector, key = 'Enter') {
    await this.reach(selector);
    await this.page.keyboard.press(key);
  }

  // A press that leads to another page.
  async follow(selector) {
    await this.reach(selector);
    const moved = this.page.waitForEvent('framenavigated', (frame) => frame === this.page.mainFrame());
    await this.page.keyboard.press('Enter');
    await moved;
    await this.page.waitForLoadState();
  }

  async logIn() {
    await this.type('#name', this.name);
    await this.type('#password', PASSWORD);
    await this.follow('button.primary');
  }

  async comesIn() {
    await this.open('/invite');
    if (this.name === 'ann') await this.look('invite');
    await this.type('#code', this.setting.codes[this.name]);
    await this.type('#password', PASSWORD);
    await this.type('#again', PASSWORD);
    await this.follow('button.primary');
  }

  // What a status of ours makes the browser say about the page itself is no fault of the page, nor is
  // a warning that is expected by its words.
  isQuiet(...expected) {
    const words = expected.map((one) => (typeof one === 'number' ? `status of ${one}` : one));
    const isExpected = (line) => words.some((text) => line.includes(text));
    const left = this.said.filter((line) => !isExpected(line));
    assert.deepEqual(left, [], `${this.name}: the console`);
    this.said = [];
  }
}
