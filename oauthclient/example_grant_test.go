package oauthclient_test

import (
	"context"
	"fmt"
	"time"

	"github.com/mcpoauth/mcpoauth/internal/authtest"
	"github.com/mcpoauth/mcpoauth/internal/mcptest"
	"github.com/mcpoauth/mcpoauth/oauthclient"
)

// A service connects for itself, without a user and without a browser.
func ExampleClientCredentials() {
	as := authtest.New(authtest.Options{Clients: []authtest.Client{{ID: "service", Secret: "its secret"}}})
	defer as.Close()
	server := mcptest.New(mcptest.Options{Auth: as})
	defer server.Close()

	client, err := oauthclient.New(oauthclient.Config{
		ServerURL: server.URL(),
		Shared: oauthclient.Shared{
			Transport: oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true}),
			Grant:     oauthclient.ClientCredentials{},
			PreregisteredClients: []oauthclient.PreregisteredClient{{
				Issuer: as.Issuer(), ClientID: "service", ClientSecret: oauthclient.NewSecret("its secret"),
			}},
		},
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(client.Connect(context.Background()))
	// Output: <nil>
}

// A workload proves who it is with the JWT that its platform gives it.
func ExampleJWTBearer() {
	platform := authtest.New(authtest.Options{})
	defer platform.Close()
	as := authtest.New(authtest.Options{AssertionKeys: platform.IdentityKeys(), Clients: []authtest.Client{{ID: "job"}}})
	defer as.Close()
	server := mcptest.New(mcptest.Options{Auth: as})
	defer server.Close()

	client, err := oauthclient.New(oauthclient.Config{
		ServerURL: server.URL(),
		Shared: oauthclient.Shared{
			Transport: oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true}),
			Grant: oauthclient.JWTBearer{Assertion: func(_ context.Context, issuer string) (oauthclient.Secret, error) {
				return oauthclient.NewSecret(platform.Assertion("job-7", issuer, time.Minute)), nil
			}},
			PreregisteredClients: []oauthclient.PreregisteredClient{{Issuer: as.Issuer(), ClientID: "job"}},
		},
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(client.Connect(context.Background()))
	// Output: <nil>
}

// The identity provider that alice has signed in with lets her use the server.
func ExampleEnterpriseManaged() {
	idp := authtest.New(authtest.Options{IDJAGClient: "app", Clients: []authtest.Client{{ID: "host"}}})
	defer idp.Close()
	as := authtest.New(authtest.Options{AssertionKeys: idp.IdentityKeys(), Clients: []authtest.Client{{ID: "app", Secret: "its secret"}}})
	defer as.Close()
	server := mcptest.New(mcptest.Options{Auth: as})
	defer server.Close()

	client, err := oauthclient.New(oauthclient.Config{
		ServerURL: server.URL(),
		Owner:     "alice",
		Shared: oauthclient.Shared{
			Transport: oauthclient.NewTransport(oauthclient.NetworkPolicy{AllowLoopback: true}),
			Grant: oauthclient.EnterpriseManaged{
				TokenEndpoint: idp.EndpointURL(authtest.EndpointToken), Client: oauthclient.PreregisteredClient{ClientID: "host"},
				IDToken: func(_ context.Context, owner string) (oauthclient.Secret, error) {
					return oauthclient.NewSecret(idp.IDToken(owner, "host")), nil
				},
			},
			PreregisteredClients: []oauthclient.PreregisteredClient{{Issuer: as.Issuer(), ClientID: "app", ClientSecret: oauthclient.NewSecret("its secret")}},
		},
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(client.Connect(context.Background()))
	// Output: <nil>
}
