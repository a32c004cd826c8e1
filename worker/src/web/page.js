// Takes the page again every two seconds while somebody looks at it. It stays as it is while a link
// in it has the focus or a text is selected, and is dimmed while the worker does not answer.
setInterval(async () => {
  const main = document.querySelector("main");
  if (document.hidden || main.contains(document.activeElement)) return;
  if (!getSelection().isCollapsed) return;
  try {
    const answer = await fetch("", { cache: "no-store" });
    if (!answer.ok) throw answer.status;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    main.replaceWith(page.querySelector("main"));
    document.body.classList.remove("stale");
  } catch {
    document.body.classList.add("stale");
  }
}, 2000);

// Cancels a job, or has it run again. The token is asked for once, and forgotten with the page.
let token = "";
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-id]");
  if (!button) return;
  token ||= prompt("Token of control.token_file:")?.trim() ?? "";
  if (!token) return;
  const cancels = button.textContent === "cancel";
  const path = cancels ? button.dataset.id : `${button.dataset.id}/rerun`;
  const headers = { Authorization: `Bearer ${token}` };
  button.disabled = true;
  try {
    const answer = await fetch(path, { method: cancels ? "DELETE" : "POST", headers });
    if (answer.status === 401) token = "";
    button.textContent = answer.ok ? "done" : (await answer.json()).error;
  } catch {
    button.textContent = "the worker does not answer";
  }
});
