/* The button that runs the model. */
document.addEventListener("DOMContentLoaded", function () {
    var run = document.getElementById("run");
    if (!run) { return; }
    var base = "/rq-engine/api/runs/" + run.dataset.runid + "/" + run.dataset.config;
    var log = document.getElementById("log");
    document.getElementById("run-wepp").addEventListener("click", function () {
        StatusStream(run.dataset.runid, "wepp", function (text) { log.textContent += text + "\n"; });
        window.fetch(base + "/session-token", { method: "POST" })
            .then(function (answer) { return answer.json(); })
            .then(function (session) {
                return window.fetch(base + "/run-wepp", { method: "POST", headers: { Authorization: "Bearer " + session.token } });
            });
    });
});
