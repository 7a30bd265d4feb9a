// <cap-widget data-cap-api-endpoint="/cap/KEY/">: solves a challenge and puts the token into the form's `cap_token`.
customElements.define(
  "cap-widget",
  class extends HTMLElement {
    async connectedCallback() {
      const endpoint = this.dataset.capApiEndpoint;
      const post = async (name, body) =>
        (await fetch(endpoint + name, {
          method: "POST",
          headers: { "Content-Type": "application/json" },
          body: JSON.stringify(body),
        })).json();
      this.textContent = "Checking that you are human ...";
      const { challenge, token } = await post("challenge", {});
      const solutions = [];
      for (const [salt, target] of challenge) solutions.push(await this.solve(salt, target));
      const redeemed = await post("redeem", { token, solutions });
      this.textContent = redeemed.success ? "Checked." : "Reload the page and try again.";
      const field = this.closest("form")?.elements.namedItem("cap_token");
      if (field && redeemed.success) field.value = redeemed.token;
    }

    async solve(salt, target) {
      for (let number = 0; ; number += 1) {
        const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(`${salt}${number}`));
        const hex = Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("");
        if (hex.startsWith(target)) return number;
      }
    }
  },
);
