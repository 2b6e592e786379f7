// What the three pages share: the token comes from the part of the address that no server sees.
"use strict";

const found = new URLSearchParams(location.hash.slice(1));
const secrets = {};
for (const name of ["token", "invitation"]) {
  if (found.get(name)) secrets[name] = found.get(name);
}
// Nobody who looks at the screen or the history afterwards finds it.
history.replaceState(null, "", location.pathname);

const line = document.querySelector("[role=status]");
const asking = document.querySelector("form[data-asks]");

for (const form of document.forms) {
  if (asking) form.hidden = (form === asking) === Boolean(secrets.token);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(form);
  });
}

async function send(form) {
  const body = form === asking ? {} : { ...secrets };
  for (const field of form.querySelectorAll("input")) {
    if (field.id !== "again") body[field.id] = field.value;
  }
  const again = form.querySelector("#again");
  if (again && again.value !== body.password) {
    line.textContent = "The two passwords differ.";
    return;
  }
  const button = form.querySelector("button");
  button.disabled = true;
  line.textContent = "One moment…";
  try {
    line.textContent = await said(form, body);
  } catch {
    line.textContent = "The server does not answer. Try again shortly.";
  }
  button.disabled = false;
}

async function said(form, body) {
  const answer = await fetch("../api/v1/" + form.dataset.action, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    credentials: "omit",
  });
  const reply = answer.status === 204 ? {} : await answer.json();
  if (!answer.ok) return reply.error.message;
  form.hidden = true;
  return form.dataset[reply.status] || form.dataset.done;
}
