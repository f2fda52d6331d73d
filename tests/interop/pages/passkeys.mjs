// Passkeys in a real Chromium with its virtual authenticator. Prints one JSON line; exit 0 when all went
// as it should.
//   passkeys.mjs SETTING.json
// SETTING has: issuer, codes (of ann), pictures (a folder, or null).
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { chromium } from 'playwright-core';

import { CHROMIUM } from '../clients/chromium.mjs';
import { PASSWORD, Person } from './person.mjs';

const setting = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
const browser = await chromium.launch(CHROMIUM);

// The device of a person: it holds passkeys, and says who is there without being touched.
class Device {
  static async of(person) {
    const device = new Device();
    device.cdp = await person.context.newCDPSession(person.page);
    await device.cdp.send('WebAuthn.enable');
    const options = {
      protocol: 'ctap2',
      transport: 'internal',
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    };
    const added = await device.send('addVirtualAuthenticator', { options });
    device.id = added.authenticatorId;
    return device;
  }

  send(method, more) {
    const of = this.id ? { authenticatorId: this.id } : {};
    return this.cdp.send(`WebAuthn.${method}`, { ...of, ...more });
  }

  async passkeys() {
    return (await this.send('getCredentials')).credentials;
  }

  // Puts back what it had, as a copy of it would have it.
  async become(credential) {
    await this.send('clearCredentials');
    await this.send('addCredential', { credential });
  }
}

const title = (person) => person.title;
const passkeyButton = 'form[data-passkey=get] button';
const problem = (person, form) => person.page.locator(`form[data-passkey=${form}] [role=alert]`);

async function signOut(ann) {
  await ann.open('/sessions');
  await ann.follow('form[action$="/logout"] button');
  await ann.open('/login');
  assert.equal(await ann.title, 'Sign in');
}

// She signs in by her password, adds a passkey, and signs in by that.
async function addAndUse(ann, device) {
  await ann.comesIn();
  await ann.open('/login');
  assert.equal(await ann.page.locator(passkeyButton).isVisible(), true);
  await ann.look('sign-in-with-passkeys');
  await ann.logIn();
  await ann.open('/settings');
  assert.equal(await ann.page.locator('[data-without-passkeys]').isVisible(), false);
  await ann.look('settings-empty');
  await ann.type('#passkey-name', 'Ann <b>laptop</b>');
  await ann.follow('form[data-passkey=create] button');
  assert.match(await ann.page.locator('[role=status]').innerText(), /passkey is added/);
  assert.match(await ann.page.locator('main').innerText(), /Ann <b>laptop<\/b>[\s\S]*never used/);
  await ann.look('settings');
  const [passkey] = await device.passkeys();
  assert.deepEqual([passkey.isResidentCredential, passkey.rpId], [true, new URL(setting.issuer).hostname]);

  // The same device makes no second one.
  await ann.type('#passkey-name', 'again');
  await ann.press('form[data-passkey=create] button');
  await problem(ann, 'create').waitFor();
  assert.match(await problem(ann, 'create').innerText(), /has a passkey of yours already/);
  // Chromium misses RS256, which nobody here verifies.
  ann.isQuiet('pubKeyCredParams');

  await signOut(ann);
  await ann.follow(passkeyButton);
  assert.equal(ann.page.url(), `${setting.issuer}/sessions`);
  assert.match(await ann.page.locator('main').innerText(), /Signed in as ann/);
  await ann.open('/settings');
  assert.match(await ann.page.locator('main').innerText(), /last used/);
  ann.isQuiet();
  return passkey;
}

// A device that does not make sure who is there, and a copy that counts from before.
async function refusals(ann, device, old) {
  await signOut(ann);
  await device.send('setUserVerified', { isUserVerified: false });
  await ann.press(passkeyButton);
  await problem(ann, 'get').waitFor();
  assert.match(await problem(ann, 'get').innerText(), /No passkey was used/);
  assert.equal(await ann.page.locator(passkeyButton).isEnabled(), true);
  await ann.look('sign-in-passkey-not-used');
  await device.send('setUserVerified', { isUserVerified: true });
  ann.isQuiet();

  const [now] = await device.passkeys();
  await device.become({ ...old, signCount: 0 });
  await ann.follow(passkeyButton);
  assert.match(await ann.page.locator('p.problem:visible').innerText(), /not accepted/);
  await ann.look('sign-in-passkey-refused');
  ann.isQuiet(401);
  await device.become({ ...now, signCount: now.signCount + 10 });
  await ann.follow(passkeyButton);
  assert.equal(ann.page.url(), `${setting.issuer}/sessions`);
  ann.isQuiet();
}

async function remove(ann) {
  await ann.open('/settings');
  await ann.follow('form[action$="/settings/passkey/remove"] button');
  assert.match(await ann.page.locator('[role=status]').innerText(), /is removed/);
  await signOut(ann);
  await ann.follow(passkeyButton);
  assert.match(await ann.page.locator('p.problem:visible').innerText(), /not accepted/);
  ann.isQuiet(401);
}

// Without scripts there is a password, and a word on why there is nothing else.
async function withoutScripts() {
  const ann = await Person.at('ann', browser, setting, { javaScriptEnabled: false });
  await ann.open('/login');
  assert.equal(await ann.page.locator(passkeyButton).isVisible(), false);
  await ann.page.fill('#name', 'ann');
  await ann.page.fill('#password', PASSWORD);
  await ann.page.click('button.primary');
  await ann.page.waitForURL(`${setting.issuer}/sessions`);
  assert.match(await ann.page.locator('main').innerText(), /Signed in as ann/);
  await ann.open('/settings');
  const page = await ann.page.locator('main').innerText();
  assert.match(page, /runs no scripts/);
  assert.equal(await ann.page.locator('form[data-passkey]').isVisible(), false);
  ann.isQuiet();
}

let failed;
try {
  const ann = await Person.at('ann', browser, setting);
  const device = await Device.of(ann);
  const passkey = await addAndUse(ann, device);
  await refusals(ann, device, passkey);
  await remove(ann);
  await withoutScripts();
} catch (error) {
  failed = error;
} finally {
  await browser.close();
}
console.log(JSON.stringify({ ok: !failed, error: failed && String(failed.stack ?? failed) }));
process.exit(failed ? 1 : 0);
