// Loaded before a server of somebody else's: it listens on loopback whatever it asks for, says on which port, and ends
// when its standard input does: when whoever started it is gone.
const { Server } = require("net");

const listen = Server.prototype.listen;
Server.prototype.listen = function (...asked) {
  const port = typeof asked[0] === "object" ? asked[0].port : asked[0];
  const ready = asked.findLast((argument) => typeof argument === "function");
  this.once("listening", () => console.log(`\nlistening on ${this.address().port}`));
  return listen.call(this, { port, host: "127.0.0.1" }, ready);
};
process.stdin.on("end", () => process.exit()).resume();
