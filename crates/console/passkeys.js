// Passkeys: asks the browser for one and sends what it says as an ordinary form. A page without this script
// works as before: what needs it stays hidden.
'use strict';
(() => {
  if (!window.PublicKeyCredential) return;

  const fromBase64url = (text) => Uint8Array.from(
    atob(text.replaceAll('-', '+').replaceAll('_', '/')),
    (character) => character.charCodeAt(0),
  );
  const base64url = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer ?? 0)))
    .replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');

  // One challenge for one answer, given to the page that this form is of.
  const ask = async (form) => {
    const answer = await fetch(form.dataset.challenge, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams({ form: form.elements.namedItem('form').value }).toString(),
    });
    if (answer.status === 429) throw new Error('It was tried too often. Wait some minutes.');
    // A redirect leads to the log-in: the session has ended.
    if (!answer.ok || answer.redirected) throw new Error('It cannot be done now. Open the page again.');
    return answer.json();
  };

  const ceremonies = {
    // WebAuthn Level 3 section 5.1.3: a discoverable passkey that makes sure who it is, and no attestation.
    async create(asked) {
      const { response } = await navigator.credentials.create({
        publicKey: {
          challenge: fromBase64url(asked.challenge),
          rp: { id: asked.rp_id, name: 'Attorn' },
          user: {
            id: fromBase64url(asked.user_handle),
            name: asked.user_name,
            displayName: asked.display_name,
          },
          pubKeyCredParams: [{ type: 'public-key', alg: -7 }, { type: 'public-key', alg: -8 }],
          excludeCredentials: asked.known.map((id) => ({ type: 'public-key', id: fromBase64url(id) })),
          authenticatorSelection: {
            residentKey: 'required', requireResidentKey: true, userVerification: 'required',
          },
          attestation: 'none',
          timeout: asked.timeout_ms,
        },
      });
      return {
        client_data: response.clientDataJSON,
        attestation_object: response.attestationObject,
      };
    },
    // Section 5.1.4: whichever passkey of this host the person takes; it says who they are.
    async get(asked) {
      const { rawId, response } = await navigator.credentials.get({
        publicKey: {
          challenge: fromBase64url(asked.challenge),
          rpId: asked.rp_id,
          userVerification: 'required',
          timeout: asked.timeout_ms,
        },
      });
      return {
        credential: rawId,
        client_data: response.clientDataJSON,
        authenticator_data: response.authenticatorData,
        signature: response.signature,
        user_handle: response.userHandle,
      };
    },
  };

  const words = (error) => {
    if (error.name === 'InvalidStateError') return 'This device has a passkey of yours already.';
    if (error.name === 'NotAllowedError') return 'No passkey was used. Try again when you are ready.';
    return error instanceof DOMException ? 'This browser could not use a passkey here.' : error.message;
  };

  for (const form of document.querySelectorAll('form[data-passkey]')) {
    const [button, problem] = [form.querySelector('button'), form.querySelector('[role=alert]')];
    form.addEventListener('submit', async (event) => {
      event.preventDefault();
      button.disabled = true;
      problem.hidden = true;
      try {
        const said = await ceremonies[form.dataset.passkey](await ask(form));
        for (const [name, value] of Object.entries(said)) {
          form.elements.namedItem(name).value = base64url(value);
        }
        form.submit();
      } catch (error) {
        problem.textContent = words(error);
        problem.hidden = false;
        button.disabled = false;
        button.focus();
      }
    });
    form.hidden = false;
  }
  for (const one of document.querySelectorAll('[data-without-passkeys]')) one.hidden = true;
})();
