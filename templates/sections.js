// Commands get a button that copies them; a link into something folded unfolds it.

(() => {
  const { make } = page;

  function copyButton(code) {
    const button = make("button", { type: "button" }, "Copy");
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
        setTimeout(() => { button.textContent = "Copy"; }, 2000);
      } catch { // without leave to write the clipboard, the reader's own keys copy what is selected
        getSelection().selectAllChildren(code);
      }
    });
    return button;
  }

  for (const code of document.querySelectorAll(".command code")) code.after(copyButton(code));

  function unfold() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let fold = target?.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
    if (target?.closest("details")) target.scrollIntoView();
  }

  addEventListener("hashchange", unfold);
  unfold();
})();
