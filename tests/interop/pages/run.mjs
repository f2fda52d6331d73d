// The pages of Attorn in a real Chromium, by keyboard alone. Prints one JSON line; exit 0 when all went
// as it should.
//   run.mjs SETTING.json
// SETTING has: issuer, resource, codes (of ann, bob and eve, by name), pictures (a folder, or null), foreign
// (a server whose words would be markup: resource, name, title, description).
import assert from 'node:assert/strict';
import fs from 'node:fs';
import { chromium } from 'playwright-core';

import { CHROMIUM } from '../clients/chromium.mjs';
import { Application } from './application.mjs';
import { foreign } from './foreign.mjs';
import { Person } from './person.mjs';

const setting = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
const { issuer, resource } = setting;
const PAYMENT = { id: 'inv-1001' };

const browser = await chromium.launch(CHROMIUM);

// Where a page may ask: at the authority, and at the applications that people are sent back to.
const origins = new Set([new URL(issuer).origin]);

async function signIn(ann, application) {
  await ann.comesIn();
  await ann.open(application.ask('read:get_invoice irreversible:pay_invoice'));
  assert.equal(await ann.title, 'Sign in');
  await ann.look('sign-in');
  ann.isQuiet();
  await ann.type('#name', 'ann');
  await ann.type('#password', 'not the password');
  await ann.follow('button.primary');
  assert.match(await ann.page.locator('[role=alert]').innerText(), /wrong/);
  await ann.look('sign-in-again');
  ann.isQuiet(401);
  await ann.logIn();
  assert.match(await ann.title, /^Allow Desk <b>of<\/b> Ann to use invoices\?$/);
  await ann.look('consent');
  // What cannot be undone is not chosen beforehand.
  const payment = ann.page.locator('fieldset.irreversible input');
  assert.equal(await payment.isChecked(), false);
  await ann.press('fieldset.irreversible input', 'Space');
  assert.equal(await payment.isChecked(), true);
  // The policy lets the form lead to the application, and nowhere else.
  await ann.follow('button[value=allow]');
  const { code, state, iss } = await application.returned;
  assert.deepEqual([state, iss], ['a-state', issuer]);
  await application.redeem(code);
  assert.match(JSON.stringify(await application.call('get_invoice', PAYMENT)), /inv-1001/);
  ann.isQuiet();
}

// The call waits, and its answer names a page; a second person reads it there and says yes.
async function approve(ann, bob, application) {
  const note = 'for \u202eevil\u200b <img src=x onerror=alert(1)>';
  const waits = await application.call('pay_invoice', { ...PAYMENT, note });
  const asked = waits.result.inputRequests.approval.params.url;
  assert.match(asked, new RegExp(`^${issuer}/approvals/apr_[a-z2-7]+$`));
  const id = asked.split('/').pop();
  const state = waits.result.requestState;

  // Who is acted for sees it, with a role to approve, and cannot.
  await ann.open(asked);
  assert.match(await ann.page.locator('.answer').innerText(), /nobody approves their own request/);
  assert.equal(await ann.page.locator('button[value=approve]').count(), 0);
  await ann.look('approval-own');
  ann.isQuiet();

  // Somebody else comes to it by the address, through the log-in.
  await bob.comesIn();
  await bob.open(asked);
  assert.equal(await bob.title, 'Sign in');
  await bob.logIn();
  assert.equal(bob.page.url(), asked);
  const page = await bob.page.locator('main').innerText();
  for (const text of ['invoices', 'pay_invoice', 'ann', '"id": "inv-1001"', '\\u{202e}', '\\u{200b}', '<img src=x', 'cannot be seen']) {
    assert.ok(page.includes(text), `${text}: ${page}`);
  }
  assert.ok(!page.includes('\u202e'));
  await bob.look('approval');
  bob.isQuiet();
  // Without a reason nothing is sent.
  await bob.press('button[value=approve]');
  assert.equal(await bob.page.locator('#reason').evaluate((one) => one.matches(':invalid')), true);
  await bob.type('#reason', 'invoice checked');
  await bob.follow('button[value=approve]');
  assert.match(await bob.page.locator('main').innerText(), /approved[\s\S]*invoice checked/);
  await bob.look('approval-approved');

  // Other arguments, then the call itself, then once more.
  const again = { requestState: state, inputResponses: { approval: { action: 'accept' } } };
  const other = await application.call('pay_invoice', { ...PAYMENT, id: 'inv-1002', note }, again);
  assert.equal(other.result._meta['dev.attorn/reason'], 'approval.arguments_changed', JSON.stringify(other));
  const made = await application.call('pay_invoice', { ...PAYMENT, note }, again);
  assert.match(JSON.stringify(made.result.content), /paid/);
  const second = await application.call('pay_invoice', { ...PAYMENT, note }, again);
  assert.equal(second.result._meta['dev.attorn/reason'], 'approval.used', JSON.stringify(second));
  await bob.open(asked);
  assert.match(await bob.page.locator('main').innerText(), /approved and made/);
  bob.isQuiet();
  return id;
}

// A form that was open while somebody else answered, and one whose arguments were exchanged.
async function refusals(bob, application) {
  const waits = await application.call('pay_invoice', { id: 'inv-1002' });
  const asked = waits.result.inputRequests.approval.params.url;
  await bob.open('/approvals');
  assert.equal(await bob.page.locator(`a[href$="${asked.split('/').pop()}"]`).count(), 1);
  await bob.look('approvals');
  await bob.follow(`a[href$="${asked.split('/').pop()}"]`);
  await bob.page.locator('input[name=shown]').evaluate((one) => { one.value = 'x'.repeat(43); });
  await bob.type('#reason', 'not what I saw');
  await bob.follow('button[value=approve]');
  assert.match(await bob.page.locator('[role=alert]').innerText(), /changed since you looked/);
  await bob.look('approval-changed');
  bob.isQuiet(412);
  assert.equal(await bob.page.locator('#reason').inputValue(), 'not what I saw');
  await bob.follow('button[value=deny]');
  const denied = await application.call('pay_invoice', { id: 'inv-1002' });
  assert.equal(denied.result._meta['dev.attorn/reason'], 'approval.denied', JSON.stringify(denied));
  assert.match(JSON.stringify(denied), /not what I saw/);
  bob.isQuiet();
}

async function traces(eve, approval) {
  await eve.comesIn();
  await eve.open('/traces');
  await eve.logIn();
  assert.equal(await eve.title, 'Traces');
  await eve.look('traces');
  await eve.type('#id', approval);
  await eve.follow('form.search button');
  assert.equal(eve.page.url(), `${issuer}/traces/${approval}`);
  const page = await eve.page.locator('main').innerText();
  for (const text of ['ann', 'invoices', 'approval.requested', 'approval.approved', 'approval.used', 'call.completed', 'matches', 'attorn audit trace']) {
    assert.ok(page.includes(text), `${text}: ${page}`);
  }
  await eve.look('trace');
  // A row has an address of its own.
  const row = eve.page.locator('.steps a[href*="#entry-"]').nth(1);
  const address = await row.getAttribute('href');
  await eve.open(`${new URL(issuer).origin}${address}`);
  assert.equal(await eve.page.locator(':target').count(), 1);
  await eve.open('/traces');
  await eve.follow('.rows a:has-text("get_invoice")');
  assert.match(await eve.page.locator('main').innerText(), /get_invoice/);
  eve.isQuiet();
  await eve.open('/traces/no-such-thing');
  assert.match(await eve.page.locator('[role=alert]').innerText(), /Nothing is recorded/);
  await eve.look('trace-none');
  await eve.open('/approvals');
  assert.match(await eve.page.locator('[role=alert]').innerText(), /not open to you/);
  await eve.look('closed');
  eve.isQuiet(404, 403);
}

async function takeBack(ann, application) {
  await ann.open('/consents');
  await ann.look('consents');
  await ann.follow('.rows button');
  assert.match(await ann.page.locator('[role=status]').innerText(), /taken back/);
  await ann.look('consents-empty');
  const refused = await application.call('get_invoice', PAYMENT);
  assert.ok(!JSON.stringify(refused).includes('inv-1001'), JSON.stringify(refused));
  await ann.open('/sessions');
  await ann.look('sessions');
  await ann.follow('form[action$="/logout"] button');
  assert.equal(await ann.title, 'Signed out');
  await ann.look('signed-out');
  ann.isQuiet();
}

async function startApplication(...what) {
  const application = await Application.start(issuer, ...what);
  origins.add(new URL(application.callback).origin);
  return application;
}

let failed;
let application;
let stranger;
try {
  application = await startApplication(resource);
  const people = {};
  for (const name of ['ann', 'bob', 'eve']) people[name] = await Person.at(name, browser, { ...setting, origins });
  const { ann, bob, eve } = people;
  await signIn(ann, application);
  const approval = await approve(ann, bob, application);
  await refusals(bob, application);
  await traces(eve, approval);
  stranger = await startApplication(setting.foreign.resource, setting.foreign.name);
  await foreign(people, stranger, setting.foreign);
  await ann.follow('.rows button[aria-label*=zz]');
  await takeBack(ann, application);
  await bob.open('/approvals');
  await bob.look('approvals-empty');
} catch (error) {
  failed = error;
} finally {
  application?.stop();
  stranger?.stop();
  await browser.close();
}
console.log(JSON.stringify({ ok: !failed, error: failed && String(failed.stack ?? failed) }));
process.exit(failed ? 1 : 0);
